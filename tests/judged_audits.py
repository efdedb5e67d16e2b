"""Audits that a model of our own choosing has judged, for tests of what is said of them afterwards."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event, text, update

from audit_rows import audit
from conforme.accounts.actor import Actor
from conforme.audit_configs.revisions import Revision, revision_for_run
from conforme.audit_configs.rules import Rules
from conforme.audit_configs.service import import_rules
from conforme.audits import case, endings, stages
from conforme.audits.case import freeze
from conforme.audits.models import AuditRow
from conforme.audits.timeline import Call, build
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.llm import Consultation, ModelReply, ModelRequest, T, ToolUse, Usage
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.reading import fenced, read_step
from conforme.settings import Settings
from conforme.transcriptions.words import Word

ACTOR = Actor.system("test")
SAID = [
    "bonjour",
    "je",
    "suis",
    "votre",
    "conseiller",
    "de",
    "la",
    "maison",
    "et",
    "notre",
    "appel",
    "est",
    "enregistré",
]
QUOTE = "je suis votre conseiller de la maison"
NEAR = "je ne suis votre conseiller de la maison"
"""Resembles what was said, and says the contrary."""


def spoken(confidence: float | None = None) -> Call:
    words = tuple(Word(word, float(at), at + 0.5, "speaker_0", confidence) for at, word in enumerate(SAID))
    return Call("call-1", words)


@dataclass
class Opinion:
    """A model that says of each point what it is told to say, with a quote where one is due."""

    statuts: Mapping[int, str] = field(default_factory=dict[int, str])
    """By number of the point; PRESENT where nothing is said."""
    quote: str = QUOTE
    name: str = "opinion"
    provider: str = "test"
    prompts: list[str] = field(default_factory=list[str])
    error: Exception | None = None

    async def consult(self, request: Consultation[T]) -> ModelReply[T] | ToolUse:
        raise NotImplementedError

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:
        self.prompts.append(request.prompt)
        if self.error is not None:
            raise self.error
        step = read_step(fenced(request.prompt, "step"))
        answer = {
            "traite": True,
            "conforme": "CONFORME",
            "score": 1,
            "niveau_conformite": "BON",
            "points_controle": [self._point(point.numero) for point in step.points],
        }
        reply = request.output.model_validate(answer)
        return ModelReply(reply, Usage(100, 0, 10), self.provider, self.name, 1, 1)

    def _point(self, number: int) -> dict[str, Any]:
        statut = self.statuts.get(number, "PRESENT")
        quotes = [{"texte": self.quote, "enregistrement": 1, "tour": 1}]
        return {
            "numero": number,
            "statut": statut,
            "commentaire": f"Avis : {statut}.",
            "citations": quotes if statut in {"PRESENT", "PARTIEL"} else [],
        }


def resources_of(database: Database, model: Opinion, **settings: Any) -> Resources:
    # The database of the test before gave the same ids to other words.
    case._cases.clear()  # pyright: ignore[reportPrivateUsage]
    chosen = Settings(**settings)
    return Resources(chosen, database, Durable(chosen, database), Outbound(chosen), model)


async def begun(database: Database, judged: Rules, call: Call | None = None) -> tuple[int, Revision]:
    """A running audit whose words are frozen and of which no step is analysed."""
    async with database.write() as session:
        number = await session.scalar(text("select count(*) + 1 from audits")) or 1
        imported = await import_rules(session, judged)
        pinned = await revision_for_run(session, imported.id)
        audit_id = await audit(session, pinned, number, status="running", result_data={}, niveau="PENDING")
        snapshot = await freeze(session, "900001", build([call or spoken()]))
        await session.execute(
            update(AuditRow).where(AuditRow.id == audit_id).values(transcript_snapshot_id=snapshot)
        )
    return audit_id, pinned


async def judged(resources: Resources, rules: Rules, call: Call | None = None) -> int:
    """A completed audit."""
    audit_id, _ = await begun(resources.database, rules, call)
    for step in rules.steps:
        await stages.analyse(resources, audit_id, step.position)
    await endings.finish(resources, audit_id)
    return audit_id


class Crash(Exception):
    """The process dies here"""


@asynccontextmanager
async def dying_before(database: Database, statement: int | None) -> AsyncGenerator[None]:
    """Everything breaks off before that statement or commit, counted from 0; None lets it be."""
    left = statement

    def count(*_: Any) -> None:
        nonlocal left
        if left is not None:
            if left == 0:
                raise Crash
            left -= 1

    engine = database.engine.sync_engine
    listeners: list[tuple[str, Callable[..., None]]] = [("before_cursor_execute", count), ("commit", count)]
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield
    except Crash:
        # As with the process itself: its connections are gone, and what they had not committed.
        await database.engine.dispose()
        raise
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)
