"""What the tests of fiches share: the simulated CRM at hand, fiches to store, and a count of SQL statements."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import event

from conforme.accounts.actor import Actor
from conforme.crm.schemas import FicheDetails, SalesFiche
from conforme.fiches import queries, service
from conforme.fiches.patch import Json
from conforme.fiches.queries import Cached
from conforme.fiches.store import Freshness
from conforme.foundation.database import Database
from conforme.recordings.fiche_calls import FicheCalls
from conforme.sandbox import dossier
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import Gateway
from conforme.sandbox.population import Population

DAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
ANYBODY = Actor.system("test")
CALLS = FicheCalls()
POPULATION = Population(load_corpus(), sales_per_day=4)


def fresh(hours: float = 240, at: datetime = NOW) -> Freshness:
    return Freshness(at, timedelta(hours=hours))


def details_of(rank: int = 0, **changed: Any) -> FicheDetails:
    """The details of one of the day's sales; `changed` replaces whole sections.

    The quote mail is there with `mail_devis=True`, null with None, absent else.
    """
    mail_devis = changed.get("mail_devis") is True and changed.pop("mail_devis")
    sale = POPULATION.sales(DAY)[rank]
    payload = dossier.details(POPULATION, sale, recordings_at="http://crm.test", mail_devis=mail_devis)
    return FicheDetails.model_validate({**payload, **changed})


def informed(details: FicheDetails, **changed: Any) -> FicheDetails:
    """The same details with other information."""
    payload = details.payload()
    return FicheDetails.model_validate({**payload, "information": {**payload["information"], **changed}})


def fiche_id_of(details: FicheDetails) -> str:
    assert details.information is not None
    return details.information.fiche_id


def listing(*, recordings: bool = True) -> Sequence[SalesFiche]:
    base = "http://crm.test" if recordings else None
    return [
        SalesFiche.model_validate(dossier.listing_item(POPULATION, sale, recordings_at=base))
        for sale in POPULATION.sales(DAY)
    ]


async def stored(
    database: Database, details: FicheDetails, freshness: Freshness | None = None, **options: Any
) -> int:
    async with database.write() as session:
        fiche = await service.store_details(session, CALLS, details, freshness or fresh(), **options)
    return fiche.fiche_cache_id


async def known(database: Database, fiche_id: str, actor: Actor = ANYBODY) -> Cached | None:
    async with database.read() as session:
        return await queries.cached(session, actor, CALLS, fiche_id)


async def found(database: Database, fiche_id: str) -> Cached:
    cached = await known(database, fiche_id)
    assert cached is not None
    return cached


async def shown(database: Database, fiche_id: str, *, mail_devis: bool = False) -> Json:
    """The fiche as it is read."""
    async with database.read() as session:
        cached = await queries.cached(session, ANYBODY, CALLS, fiche_id)
        assert cached is not None
        document = await queries.document(session, ANYBODY, CALLS, cached.row, mail_devis=mail_devis)
    assert document is not None
    return document


@dataclass
class Crm:
    """The simulated CRM and the fiches it sold on `DAY`."""

    service: Service
    gateway: Gateway
    fiche_ids: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Requests for fiches by id so far."""
        return sum(
            route["requests"] for name, route in self.service.counts()["routes"].items() if "by-id" in name
        )


class Statements:
    """SQL statements sent to the database."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __len__(self) -> int:
        return len(self.seen)


@contextmanager
def counted(database: Database) -> Generator[Statements]:
    statements = Statements()

    def note(_: Any, __: Any, statement: str, *_rest: Any) -> None:
        statements.seen.append(statement)

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
