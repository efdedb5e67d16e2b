"""Personal data and keys pushed through every route and workflow are found in no log line, error, event or job."""

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pipeline_audits import Product, product, rows

from conforme.foundation.database import Database
from conforme.foundation.logging import configure_logging
from conforme.sandbox.weather import FaultPlan
from conforme.sandbox.world import Sandbox, SandboxOptions
from conforme.settings import Settings

NIR = "2 58 03 69 123 456 78"
IBAN = "FR76 3000 6000 0112 3456 7890 189"
PHONE = "06 39 98 12 34"
MAIL = "canari.jaune@example.test"
BEARER = "Bearer canary-bearer-0123456789"
CANARIES = (NIR, IBAN, PHONE, MAIL, "canary-bearer-0123456789")
TOO_SHORT = 4
"""Values this short ("Non", "42") are found everywhere and prove nothing."""
PERSONAL = [
    "nom",
    "prenom",
    "mail",
    "mail_2",
    "telephone",
    "mobile",
    "telephone_2",
    "adresse",
    "num_secu",
    "num_affiliation",
    "date_naissance",
    "email",
    "titulaire_nom",
    "titulaire_adresse",
    "from_number",
    "to_number",
    "attribution_user_nom",
]


@pytest.fixture
def logged() -> io.StringIO:
    """Everything the process logs, as a server in production would write it."""
    stream = io.StringIO()
    configure_logging(Settings(log_format="json", log_level="debug"), stream)
    return stream


def personal_values(value: Any, key: str = "") -> Iterator[str]:
    """What a fiche of the CRM tells of people, wherever it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from personal_values(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from personal_values(inner, key)
    elif key in PERSONAL and isinstance(value, str) and len(value) > TOO_SHORT:
        yield value


async def poke(client: httpx2.AsyncClient, audit_id: str, fiche_id: str) -> list[httpx2.Response]:
    """Every route, with personal data wherever a caller can put some."""
    hostile = {"X-Note": MAIL, "Cookie": BEARER, "User-Agent": PHONE}
    asked = [
        ("GET", f"/api/nowhere?who={NIR}&mail={MAIL}", None),
        ("GET", f"/api/fiches/{NIR}", None),
        ("GET", f"/api/fiches/{fiche_id}?include_mail_devis=true&q={PHONE}", None),
        ("GET", f"/api/fiches/{fiche_id}/status", None),
        ("GET", f"/api/fiches/{fiche_id}/cache", None),
        ("GET", f"/api/recordings/{fiche_id}", None),
        ("GET", f"/api/transcriptions/{fiche_id}/status", None),
        ("GET", f"/api/transcriptions/{fiche_id}/recordings/{MAIL}", None),
        ("POST", f"/api/transcriptions/{fiche_id}?priority={IBAN}", {}),
        ("POST", "/api/transcriptions/batch", {"fiche_ids": [NIR]}),
        ("GET", f"/api/audits/{audit_id}", None),
        ("GET", f"/api/audits/{MAIL}", None),
        ("GET", f"/api/audits?date_from={PHONE}&fiche_ids={IBAN}", None),
        ("GET", f"/api/audits/by-fiche/{NIR}", None),
        ("POST", "/api/audits/run", {"fiche_id": NIR, "audit_config_id": IBAN, "user_id": MAIL}),
        ("POST", "/api/audits/run", {"fiche_id": MAIL, "audit_config_id": 1}),
        ("POST", f"/api/audits/{IBAN}/resume", {}),
        ("POST", "/api/audit-configs", {"name": "", "description": NIR, "steps": [{"name": MAIL}]}),
        ("GET", f"/api/audit-configs/{MAIL}", None),
        ("GET", f"/api/realtime/stream?channels={MAIL}", None),
        ("GET", f"/api/realtime/stream?channels=private-audit-1&after={IBAN}", None),
    ]
    return [await client.request(method, path, json=body, headers=hostile) for method, path, body in asked]


async def everything_stored_of_jobs(database: Database) -> str:
    """Events, and what the engine keeps of every job and step."""
    found = await rows(database, "select name, payload::text from events")
    tables = await rows(database, "select tablename from pg_tables where schemaname = 'dbos'")
    for (table,) in tables:
        found += await rows(database, f"select row_to_json(t)::text from dbos.{table} t")  # noqa: S608 -- names of the catalogue
    return json.dumps([list(row) for row in found], ensure_ascii=False)


async def walk(product: Product) -> str:
    """One audit to its end, and one that fails; the first one's id."""
    first, second = product.fiche_ids[:2]
    audit = await product.client.ask(first, product.config_id)
    failing = await product.client.ask("999999999", product.config_id)
    await product.client.ended([audit, failing])
    product.sandbox.crm.faults = FaultPlan(down=True)
    refused = await product.client.http.get(f"/api/fiches/{second}")
    assert refused.status_code == 502
    product.sandbox.crm.faults = FaultPlan()
    return audit.db_id


async def test_no_canary_is_found_outside_the_tables_that_keep_it(
    database: Database, logged: io.StringIO
) -> None:
    options = SandboxOptions(faults=FaultPlan.of_rate(0.1, hang_seconds=0.2, retry_after_seconds=0.1))
    async with Sandbox(options) as sandbox, product(database, sandbox) as made:
        audit_id = await walk(made)
        fiche_id = made.fiche_ids[0]
        body = (await made.client.http.get(f"/api/fiches/{fiche_id}")).json()
        people = set(personal_values(body))
        answers = await poke(made.client.http, audit_id, fiche_id)
        stored = await everything_stored_of_jobs(database)
        words = await rows(
            database, "select transcription_text from recordings where transcription_text <> ''"
        )
        keys = [
            value
            for name, value in sandbox.environment().items()
            if name.endswith(("KEY", "TOKEN", "SECRET"))
        ]
    log = logged.getvalue()
    assert len(people) > 5
    assert log.count("\n") > 10
    errors = "\n".join(answer.text for answer in answers if answer.status_code >= 400)
    assert errors
    assert not [answer.url for answer in answers if answer.status_code >= 500]
    for canary in CANARIES:
        assert canary not in log
        assert canary not in errors
    for secret in [*keys, made.resources.settings.api_tokens[0].get_secret_value()]:
        assert secret not in log + errors + stored
    for value in people:
        assert value not in log, value
        assert value not in errors, value
        assert value not in stored, value
    for (spoken,) in words:
        assert spoken[:80] not in log + errors + stored
