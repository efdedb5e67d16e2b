"""The order of a call, judged on what is stored: a point met too late is met in part, and is told of as it is stored."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from conforme.audits import queries, reruns, totals
from conforme.audits.models import VerdictRow
from conforme.foundation.database import Database
from conforme.foundation.events import after
from conforme.foundation.llm import ModelReply, ModelRequest, T
from conforme.foundation.resources import Resources
from conforme.sandbox.reading import fenced, read_step
from judged_audits import QUOTE, Opinion, judged, resources_of
from rubrics import rules, step

LATE = "notre appel est enregistré"
OPENING = "Ouverture"
RULES = rules().model_copy(
    update={
        "steps": (
            step(1, name=OPENING, chronological_important=True, control_points=["L'enregistrement est dit."]),
            *(step(position, control_points=["C'est dit."]) for position in (2, 3, 4)),
        )
    }
)


class OpeningAtTheEnd(Opinion):
    """Finds what opens the call behind everything else."""

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:
        self.quote = LATE if read_step(fenced(request.prompt, "step")).name == OPENING else QUOTE
        return await super().ask(request)


@pytest.fixture
def resources(database: Database) -> Resources:
    return resources_of(database, OpeningAtTheEnd())


async def _point(api: httpx2.AsyncClient, audit_id: int) -> dict[str, Any]:
    path = f"/api/audits/{audit_id}/steps/1/control-points/1"
    return (await api.get(path)).json()["data"]


async def _found_late(database: Database) -> int:
    async with database.read() as session:
        query = select(func.count()).where(VerdictRow.kind == "chronology")
        return await session.scalar(query) or 0


async def test_what_comes_too_late_is_met_in_part_and_said_once(
    api: httpx2.AsyncClient, resources: Resources
) -> None:
    audit_id = await judged(resources, RULES)
    point = await _point(api, audit_id)
    assert point["statut"] == "PARTIEL"
    assert [doubt["reason"] for doubt in point["doubts"]] == ["chronology"]
    async with resources.database.write() as session:
        audit = await queries.locked(session, audit_id)
        assert audit is not None
        await totals.restate(session, audit)
    assert await _found_late(resources.database) == 1


async def test_a_rerun_that_finds_it_late_again_tells_what_is_stored(
    api: httpx2.AsyncClient, resources: Resources
) -> None:
    audit_id = await judged(resources, RULES)
    queued = (await api.post(f"/api/audits/{audit_id}/steps/1/control-points/1/rerun", json={})).json()
    await reruns.begin(resources, queued["event_id"])
    await reruns.carry_out(resources, queued["event_id"])
    async with resources.database.read() as session:
        [told] = [
            event.payload["comparison"]
            for event in await after(session, 0, limit=1000)
            if event.payload.get("status") == "rerun_completed"
        ]
    assert (told["originalStatut"], told["newStatut"]) == ("PARTIEL", "PARTIEL")
    assert (await _point(api, audit_id))["statut"] == "PARTIEL"
    assert await _found_late(resources.database) == 2


async def test_a_person_stands_above_the_order_of_the_call(
    api: httpx2.AsyncClient, resources: Resources
) -> None:
    audit_id = await judged(resources, RULES)
    path = f"/api/audits/{audit_id}/steps/1/control-points/1/review"
    assert (await api.patch(path, json={"statut": "PRESENT"})).status_code == 200
    assert (await _point(api, audit_id))["statut"] == "PRESENT"
    async with resources.database.write() as session:
        audit = await queries.locked(session, audit_id)
        assert audit is not None
        await totals.restate(session, audit)
    assert (await _point(api, audit_id))["statut"] == "PRESENT"
