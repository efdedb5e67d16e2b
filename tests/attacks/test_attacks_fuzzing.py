"""The API document, fuzzed with each scope: no 500, no undocumented status, no answer its schema does not allow."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from attack_tally import PROPERTY
from conforme.accounts.grants import Scope
from conforme.app import Role
from conforme.fiches import waiting
from conforme.foundation.database import Database
from conforme.process import Served, http_server
from people import everything_within, signed_in
from product_fixtures import PUSHER, SETTINGS

CONFIGURATION = Path(__file__).with_name("fuzzing.toml")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = r"^/api/(auth/logout|auth/password|realtime/stream)"
"""What would end the session that fuzzes, and a stream, which does not end."""
NOBODY = "http://127.0.0.1:9"
"""A CRM that does not answer."""


@pytest.fixture
async def served(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Served]:
    """A server whose readers do not wait for a fetch that nobody makes."""
    monkeypatch.setattr(waiting, "READ_SECONDS", 0.05)
    settings = SETTINGS.model_copy(update={"port": 0, "fiche_api_base_url": NOBODY, **PUSHER})
    async with http_server(settings, database_url, Role.API) as server:
        yield server


@pytest.mark.attack("fuzzing")
@pytest.mark.parametrize("scope", list(Scope))
async def test_no_request_gets_an_answer_that_is_not_documented(
    served: Served, database: Database, scope: Scope, request: pytest.FixtureRequest
) -> None:
    person = await signed_in(
        database, SETTINGS, everything_within(scope), groupes=["EQUIPE R1"], crm_user_id="211"
    )
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={CONFIGURATION}",
        "run",
        f"{served.url}/api-docs.json",
        f"--header=Authorization: {person.headers['Authorization']}",
        f"--checks={CHECKS}",
        "--phases=fuzzing",
        f"--exclude-path-regex={LEFT_OUT}",
        f"--max-examples={3 if scope is Scope.ALL else 2}",
        "--request-timeout=30",
        "--seed=1",
        "--no-color",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-12_000:]
    made = re.search(r"(\d+) generated", said.decode())
    assert made is not None
    assert int(made[1]) > 100
    request.node.user_properties.append((PROPERTY, ("fuzzing", int(made[1]))))
