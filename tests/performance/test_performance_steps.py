"""What the analysis of one step sends to the database: the same few statements, whatever the step holds."""

from dataclasses import dataclass

import pytest
from sql_statements import Sent, sent_to
from sqlalchemy import select

from audit_rows import audit
from conforme.audit_configs.revisions import revision_for_run
from conforme.audit_configs.rules import Rules
from conforme.audit_configs.service import import_rules
from conforme.audits import case, stages
from conforme.audits.case import freeze
from conforme.audits.models import AuditRow, CitationRow, ControlPointRow
from conforme.audits.timeline import Call, build
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.llm import Consultation, ModelReply, ModelRequest, T, ToolUse, Usage
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.auditor import audit_step
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.speaking import speak
from conforme.settings import Settings
from conforme.transcriptions.words import Word
from rubrics import rules
from rubrics import step as step_rule

POINT = "Le conseiller se présente."
STATEMENTS = 5
"""Before the question: the audit, the event. After it, in one transaction: hold, standing, and all that is written."""
TRANSACTIONS = 1
"""What is sent before the question needs none."""


@dataclass(frozen=True)
class Auditor:
    """The sandbox's auditor, asked without a network between."""

    name: str = "rules"
    provider: str = "sandbox"

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:
        verdict = request.output.model_validate(audit_step(request.prompt))
        return ModelReply(verdict, Usage(100, 0, 10), self.provider, self.name, 1, 1)

    async def consult(self, request: Consultation[T]) -> ModelReply[T] | ToolUse:
        raise NotImplementedError


@pytest.fixture
def resources(database: Database) -> Resources:
    # The database of the test before gave the same ids to other words.
    case._cases.clear()  # pyright: ignore[reportPrivateUsage]
    settings = Settings()
    return Resources(settings, database, Durable(settings, database), Outbound(settings), Auditor())


def _heard() -> Call:
    corpus = load_corpus()
    spoken = speak(corpus.call(next(iter(corpus.scenarios))))
    words = tuple(Word(word.text, word.start, word.end, word.role) for word in spoken.words)
    return Call("call-1", words)


async def _running(database: Database, judged: Rules) -> int:
    """An audit whose words are frozen and of which no step is analysed."""
    async with database.write() as session:
        imported = await import_rules(session, judged)
        pinned = await revision_for_run(session, imported.id)
        audit_id = await audit(session, pinned, pinned.config_id, status="running", model=None)
        row = (await session.scalars(select(AuditRow).where(AuditRow.id == audit_id))).one()
        row.transcript_snapshot_id = await freeze(session, row.fiche_id, build([_heard()]))
    return audit_id


async def _analysed(resources: Resources, judged: Rules, position: int = 2) -> Sent:
    """The statements of one step, the case being open on this replica."""
    audit_id = await _running(resources.database, judged)
    await stages.analyse(resources, audit_id, 1)
    with sent_to(resources.database) as sent:
        assert await stages.analyse(resources, audit_id, position) == {"ok": True, "cached": False}
    return sent


@pytest.mark.parametrize(("steps", "points"), [(2, 1), (20, 1), (2, 20)])
async def test_a_step_takes_five_statements_and_one_transaction(
    resources: Resources, steps: int, points: int
) -> None:
    made = [step_rule(number, control_points=[POINT] * points) for number in range(1, steps + 1)]
    sent = await _analysed(resources, rules().model_copy(update={"steps": tuple(made)}))
    assert (len(sent), sent.commits) == (STATEMENTS, TRANSACTIONS)
    async with resources.database.read() as session:
        stored = await session.scalars(select(ControlPointRow).where(ControlPointRow.step_position == 2))
        quotes = await session.scalars(select(CitationRow).where(CitationRow.step_position == 2))
    assert len(list(stored)) == points
    assert list(quotes)


async def test_a_step_that_is_analysed_already_takes_one_statement(resources: Resources) -> None:
    audit_id = await _running(resources.database, rules())
    await stages.analyse(resources, audit_id, 1)
    with sent_to(resources.database) as sent:
        assert await stages.analyse(resources, audit_id, 1) == {"ok": True, "cached": True}
    assert len(sent) == 1


async def test_a_step_takes_the_place_of_its_outage(resources: Resources) -> None:
    audit_id = await _running(resources.database, rules())
    await stages.give_up(resources, audit_id, 1, "the model is down", job_id="job")
    assert (await stages.analyse(resources, audit_id, 1))["cached"] is False
    async with resources.database.read() as session:
        stored = list(await session.scalars(select(ControlPointRow)))
    assert len(stored) == len(rules().steps[0].control_points)
