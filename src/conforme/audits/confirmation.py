"""A second opinion on critical steps (AUDIT_CONFIRM_CRITICAL): the same question, asked once more.

It changes no status. Where the two differ on what the audit stands or falls with, the point is in doubt and comes to
the review queue.
"""

from typing import Any

from conforme.audit_configs.rules import StepRule
from conforme.audits import facts, history, queries, stages
from conforme.audits.analysis import StepAnalysis, analyse_step
from conforme.audits.case import case_of
from conforme.audits.errors import AnswerIncomplete
from conforme.audits.history import Fact
from conforme.audits.models import AuditRow
from conforme.foundation.ledger import PriceTable, line_of, model_call
from conforme.foundation.llm import ModelError, Spent
from conforme.foundation.resources import Resources
from conforme.foundation.rows import Rows, write_rows

PURPOSE = "audit-confirmation"


def critical_points(step: StepRule) -> set[int]:
    """Numbers of the points that the audit stands or falls with: all of a critical step, else those that say so."""
    numbered = enumerate(step.control_points, 1)
    return {number for number, point in numbered if step.is_critical or point.critical}


async def confirm(resources: Resources, audit_id: int, position: int, reference: str) -> dict[str, Any]:
    """Asks a second time about a step that was analysed, and appends what came of it; done once per `reference`.

    Raises:
        ConformeError: no second answer could be had; the first one stands as it is.
    """
    async with resources.database.read() as session:
        audit = await queries.row(session, audit_id)
        if audit.transcript_snapshot_id is None or await facts.known(session, reference):
            return {"asked": False}
    async with resources.database.alone() as connection:
        case = await case_of(
            connection,
            revision_id=audit.config_revision_id,
            snapshot_id=audit.transcript_snapshot_id,
        )
    step = case.step(position)
    if not critical_points(step):
        return {"asked": False}
    tools = stages.tools_again(resources.settings, audit)
    try:
        second = await analyse_step(
            resources.model,
            case,
            step,
            cache_key=f"audit-{audit_id}",
            policy=stages.policy_of(resources.settings),
            model_name=audit.model,
            tools=tools,
        )
    except ModelError as error:
        await _bill(resources, audit_id, position, error.spent)
        raise
    finally:
        for spent in await stages.asked_on_the_way(tools):
            await _bill(resources, audit_id, position, spent)
    if second.finding.missing:
        await _bill(resources, audit_id, position, second.spent)
        raise AnswerIncomplete(second.finding.missing)
    return await _keep(resources, audit, second, reference)


def _line(resources: Resources, audit_id: int, position: int, spent: Spent) -> Rows:
    call = model_call(spent, purpose=PURPOSE, audit_id=audit_id, step_position=position)
    return line_of(call, PriceTable.load(resources.settings.price_table))


async def _bill(resources: Resources, audit_id: int, position: int, spent: Spent | None) -> None:
    if spent is not None and spent.attempts:
        async with resources.database.write() as session:
            await write_rows(session, _line(resources, audit_id, position, spent))


async def _keep(
    resources: Resources, audit: AuditRow, second: StepAnalysis, reference: str
) -> dict[str, Any]:
    position, critical = second.step.position, critical_points(second.step)
    statuts = {str(point.numero): point.statut.value for point in second.points if point.numero in critical}
    basis = facts.Basis(audit.config_revision_id, audit.transcript_snapshot_id)
    async with resources.database.transaction() as connection:
        await queries.hold(connection, audit.id)
        await write_rows(connection, _line(resources, audit.id, position, second.spent))
        if await facts.known(connection, reference):
            return {"asked": True}
        before = await facts.open_step(connection, audit.id, position)
        after = history.after(before, Fact("confirmation", {"statuts": statuts}))
        await facts.append(
            connection,
            audit.id,
            position,
            kind="confirmation",
            author=facts.MODEL,
            reference=reference,
            content={"statuts": statuts},
            **facts.said_by_model(second, basis),
        )
        await facts.hold(connection, audit.id, second.step, after)
    return {"asked": True}
