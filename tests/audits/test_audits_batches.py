"""Many audits asked for at once: each fiche has one outcome, and the totals are always those of the outcomes."""

from collections import Counter
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update

from audit_rows import configured, fiche, step
from conforme.accounts.grants import Scope
from conforme.audits import batches, endings
from conforme.audits.batch_models import AuditBatch, AuditBatchItem
from conforme.audits.batches import MAX_FICHES
from conforme.audits.errors import AuditFailed
from conforme.audits.models import AuditRow
from conforme.foundation.database import Database
from conforme.foundation.errors import Forbidden
from conforme.foundation.events import EventRow, job_channel
from conforme.foundation.resources import Resources
from conforme.realtime.channels import authorise
from people import granting, signed_in
from product_fixtures import SETTINGS

PATH = "/api/audits/batch"


@pytest.fixture
def resources(api_app: FastAPI) -> Resources:
    return api_app.state.resources


class Room:
    """A configuration, and the work of batches done by hand: the application of these tests has no workers."""

    def __init__(
        self, api: httpx2.AsyncClient, database: Database, resources: Resources, config_id: int
    ) -> None:
        self.api = api
        self.database = database
        self.resources = resources
        self.config_id = config_id

    async def ask(self, *fiche_ids: str, **body: Any) -> dict[str, Any]:
        wish = {"fiche_ids": list(fiche_ids), "audit_config_id": self.config_id} | body
        answer = await self.api.post(PATH, json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def queue(self, batch_id: str) -> None:
        pk = await self._pk(batch_id)
        while (await batches.queue_part(self.resources, pk))["left"]:
            pass

    async def cancel(self, batch_id: str) -> None:
        """What the job of a stopped batch does."""
        found = await batches.end_unbegun(self.resources, await self._pk(batch_id))
        await endings.stop(self.resources, [(audit_id, job_id) for audit_id, job_id in found["audits"]])

    async def complete(self, fiche_id: str) -> None:
        audit_id = await self._open_audit(fiche_id)
        async with self.database.write() as session:
            await session.execute(update(AuditRow).where(AuditRow.id == audit_id).values(status="running"))
            await step(session, audit_id, 1)
        await endings.finish(self.resources, audit_id)

    async def fail(self, fiche_id: str) -> None:
        reason = AuditFailed("The CRM does not answer", phase="fiche_fetch")
        await endings.fail(self.resources, await self._open_audit(fiche_id), reason)

    async def state(self, batch_id: str) -> dict[str, Any]:
        return (await self.api.get(f"{PATH}/{batch_id}")).json()["data"]

    async def outcomes(self, batch_id: str) -> dict[str, str | None]:
        found = (await self.api.get(f"{PATH}/{batch_id}/items?limit=500")).json()
        assert found["pagination"]["total"] == len(found["data"])
        return {item["fiche_id"]: item["outcome"] for item in found["data"]}

    async def check(self, batch_id: str) -> dict[str, Any]:
        """The counters are those of the items; what was told of them is what they were."""
        state, counted = await self.state(batch_id), Counter((await self.outcomes(batch_id)).values())
        assert {name: state[name] for name in ("succeeded", "failed", "cancelled")} == {
            name: counted[name] for name in ("succeeded", "failed", "cancelled")
        }
        assert sum(counted.values()) == state["total"]
        return state

    async def told(self, name: str) -> list[dict[str, Any]]:
        async with self.database.read() as session:
            query = select(EventRow).where(EventRow.name == name).order_by(EventRow.id)
            return [each.payload for each in await session.scalars(query)]

    async def _pk(self, batch_id: str) -> int:
        async with self.database.read() as session:
            query = select(AuditBatch.id).where(AuditBatch.batch_id == batch_id)
            return (await session.scalars(query)).one()

    async def _open_audit(self, fiche_id: str) -> int:
        async with self.database.read() as session:
            query = select(AuditRow.id).where(
                AuditRow.fiche_id == fiche_id, AuditRow.status.in_(("pending", "running"))
            )
            return (await session.scalars(query)).one()


@pytest.fixture
async def room(api: httpx2.AsyncClient, database: Database, resources: Resources) -> Room:
    return Room(api, database, resources, (await configured(database, steps=1)).config_id)


async def test_a_batch_is_answered_as_the_contract_says(room: Room) -> None:
    answer = await room.ask("1001", "1002", "1001")
    batch_id = answer.pop("batch_id")
    assert batch_id.startswith("batch-")
    assert batch_id.endswith("-2")
    assert answer == {
        "success": True,
        "message": "Batch audit queued for 2 fiches",
        "fiche_ids": ["1001", "1002"],
        "audit_config_id": room.config_id,
        "event_ids": [f"batch-{batch_id}-audit-{fiche}-{room.config_id}" for fiche in ("1001", "1002")],
    }
    [told] = await room.told("batch.progress")
    assert told == {
        "batch_id": batch_id,
        "operation_type": "audit",
        "total": 2,
        "completed": 0,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
        "progress_percentage": 0,
    }


async def test_every_audit_counts_once_where_it_ends_and_the_end_of_all_is_told_once(room: Room) -> None:
    asked = await room.ask("1001", "1002", "1003")
    await room.queue(asked["batch_id"])
    await room.queue(asked["batch_id"])  # as after a crash: nothing is queued twice
    await room.complete("1002")
    await room.fail("1001")
    assert (await room.check(asked["batch_id"]))["status"] == "running"
    await room.complete("1003")
    state = await room.check(asked["batch_id"])
    assert (state["status"], state["succeeded"], state["failed"]) == ("completed", 2, 1)
    assert [told["completed"] for told in await room.told("batch.progress")] == [0, 1, 2, 3]
    [ended] = await room.told("batch.completed")
    assert (ended["batch_id"], ended["total"], ended["completed"]) == (asked["batch_id"], 3, 3)
    assert ended["duration_ms"] >= 0
    lines = (await room.api.get(f"{PATH}/{asked['batch_id']}/items")).json()["data"]
    assert [line["audit_id"] for line in lines] == asked["event_ids"]
    assert lines[0]["error"] == "The CRM does not answer"


async def test_large_batches_are_queued_in_parts(room: Room) -> None:
    count = batches.PART * 2 + 1
    asked = await room.ask(*(str(2000 + number) for number in range(count)))
    await room.queue(asked["batch_id"])
    async with room.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(AuditRow)) == count


async def test_asked_twice_within_seconds_or_under_one_key_it_is_one_batch(room: Room) -> None:
    one, again = await room.ask("1001"), await room.ask("1001")
    assert one == again
    body = {"fiche_ids": ["1002"], "audit_config_id": room.config_id}
    keyed = [await room.api.post(PATH, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert keyed[0].json() == keyed[1].json()
    other = await room.api.post(PATH, json=body | {"use_rlm": True}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert (await room.api.get(PATH)).json()["pagination"]["total"] == 2


async def test_a_stopped_batch_begins_nothing_and_ends_what_it_began(room: Room) -> None:
    asked = await room.ask("1001", "1002", "1003")
    batch_id = asked["batch_id"]
    await room.queue(batch_id)
    await room.complete("1001")
    stopped = await room.api.post(f"{PATH}/{batch_id}/cancel")
    assert stopped.json()["data"]["status"] == "cancelled"
    await room.cancel(batch_id)
    state = await room.check(batch_id)
    assert (state["succeeded"], state["cancelled"], state["progress_percentage"]) == (1, 2, 100)
    assert len(await room.told("batch.completed")) == 1
    async with room.database.read() as session:
        codes = Counter(await session.scalars(select(AuditRow.error_code)))
    assert codes == {None: 1, "CANCELLED": 2}


async def test_stopped_before_anything_began_no_audit_is_made(room: Room) -> None:
    batch_id = (await room.ask("1001", "1002"))["batch_id"]
    await room.api.post(f"{PATH}/{batch_id}/cancel")
    await room.queue(batch_id)
    await room.cancel(batch_id)
    assert (await room.check(batch_id))["cancelled"] == 2
    async with room.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(AuditRow)) == 0


async def test_taken_up_again_only_what_did_not_succeed_is_done(room: Room) -> None:
    batch_id = (await room.ask("1001", "1002", "1003"))["batch_id"]
    await room.queue(batch_id)
    early = await room.api.post(f"{PATH}/{batch_id}/resume")
    assert (early.status_code, early.json()["code"]) == (409, "BATCH_RUNNING")
    await room.complete("1001")
    await room.fail("1002")
    await room.fail("1003")
    again = await room.api.post(f"{PATH}/{batch_id}/resume")
    assert (again.json()["data"]["status"], again.json()["data"]["failed"]) == ("running", 0)
    await room.queue(batch_id)
    await room.complete("1002")
    await room.complete("1003")
    state = await room.check(batch_id)
    assert (state["status"], state["succeeded"], state["attempt"]) == ("completed", 3, 2)
    over = await room.api.post(f"{PATH}/{batch_id}/resume")
    assert (over.status_code, over.json()["code"]) == (409, "BATCH_OVER")
    async with room.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(AuditRow)) == 3


async def test_an_audit_resumed_by_itself_changes_its_outcome_and_tells_no_second_end(room: Room) -> None:
    batch_id = (await room.ask("1001", "1002"))["batch_id"]
    await room.queue(batch_id)
    await room.complete("1001")
    await room.fail("1002")
    async with room.database.read() as session:
        audit_id = await session.scalar(select(AuditRow.id).where(AuditRow.fiche_id == "1002"))
    assert (await room.api.post(f"/api/audits/{audit_id}/resume")).status_code == 200
    await room.complete("1002")
    state = await room.check(batch_id)
    assert (state["succeeded"], state["failed"]) == (2, 0)
    assert len(await room.told("batch.completed")) == 1


async def test_taken_up_again_a_deleted_audit_is_made_anew_and_not_revived(room: Room) -> None:
    batch_id = (await room.ask("1001"))["batch_id"]
    await room.queue(batch_id)
    await room.fail("1001")
    async with room.database.read() as session:
        deleted = await session.scalar(select(AuditRow.id).where(AuditRow.fiche_id == "1001"))
    assert (await room.api.delete(f"/api/audits/{deleted}")).status_code == 200
    await room.api.post(f"{PATH}/{batch_id}/resume")
    await room.queue(batch_id)
    await room.complete("1001")
    assert (await room.check(batch_id))["succeeded"] == 1
    [line] = (await room.api.get(f"{PATH}/{batch_id}/items")).json()["data"]
    assert line["audit_db_id"] != str(deleted)


async def test_a_cancellation_that_comes_after_the_batch_was_taken_up_again_stops_nothing(room: Room) -> None:
    batch_id = (await room.ask("1001"))["batch_id"]
    await room.queue(batch_id)
    await room.api.post(f"{PATH}/{batch_id}/cancel")
    await room.fail("1001")
    assert (await room.api.post(f"{PATH}/{batch_id}/resume")).status_code == 200
    await room.cancel(batch_id)
    assert await room.outcomes(batch_id) == {"1001": None}


async def test_an_audit_counts_in_its_batch_whatever_its_trigger_is_called(room: Room) -> None:
    batch_id = (await room.ask("1001"))["batch_id"]
    await room.queue(batch_id)
    async with room.database.read() as session:
        audit_id = await session.scalar(select(AuditRow.id).where(AuditRow.fiche_id == "1001"))
    assert (
        await room.api.patch(f"/api/audits/{audit_id}", json={"trigger_source": "api"})
    ).status_code == 200
    await room.complete("1001")
    assert (await room.check(batch_id))["status"] == "completed"


async def test_overlapping_batches_each_count_their_own_audits(room: Room) -> None:
    first, second = await room.ask("1001", "1002"), await room.ask("1002", "1001")
    assert first["batch_id"] != second["batch_id"]
    await room.queue(first["batch_id"])
    await room.fail("1001")
    await room.fail("1002")
    assert (await room.check(first["batch_id"]))["status"] == "completed"
    assert (await room.check(second["batch_id"]))["status"] == "running"
    await room.queue(second["batch_id"])
    await room.complete("1001")
    await room.complete("1002")
    assert (await room.check(second["batch_id"]))["succeeded"] == 2
    assert (await room.check(first["batch_id"]))["failed"] == 2


async def test_a_configuration_that_can_no_longer_run_fails_the_items_with_the_reason(room: Room) -> None:
    batch_id = (await room.ask("1001"))["batch_id"]
    await room.api.put(f"/api/audit-configs/{room.config_id}", json={"isActive": False})
    await room.queue(batch_id)
    state = await room.check(batch_id)
    assert (state["status"], state["failed"]) == ("completed", 1)
    [line] = (await room.api.get(f"{PATH}/{batch_id}/items?outcome=failed")).json()["data"]
    assert line["error"] == f"Audit config '{room.config_id}' is inactive"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "fiche_ids"),
        ({}, "fiche_ids"),
        ({"fiche_ids": []}, "fiche_ids"),
        ({"fiche_ids": ["1", ""]}, "fiche_ids.1"),
        ({"fiche_ids": "1"}, "fiche_ids"),
        ({"fiche_ids": ["1"] * (MAX_FICHES + 1)}, "fiche_ids"),
        ({"fiche_ids": ["1"], "audit_config_id": "x"}, "audit_config_id"),
    ],
)
async def test_a_malformed_batch_is_refused_by_its_field(
    api: httpx2.AsyncClient, body: dict[str, Any] | None, field: str
) -> None:
    answer = await api.post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid batch audit input")
    assert answer.json()["message"].startswith(f"{field}: ")


async def test_an_unknown_configuration_is_refused_before_anything_is_stored(room: Room) -> None:
    answer = await room.api.post(PATH, json={"fiche_ids": ["1"], "audit_config_id": 999})
    assert answer.status_code == 404
    assert (await room.api.get(PATH)).json()["data"] == []
    assert (await room.api.get(f"{PATH}/batch-1-1")).status_code == 404


async def test_batches_are_of_those_who_asked_and_of_fiches_they_may_see(room: Room) -> None:
    mine = "EQUIPE R1"
    async with room.database.write() as session:
        await fiche(session, "1001", mine)
        await fiche(session, "1002", "EQUIPE R2")
    grants = granting(["audits"], Scope.GROUP, write=True)
    person = await signed_in(room.database, SETTINGS, grants, groupes=[mine])
    others = (await room.ask("1001"))["batch_id"]
    body = {"fiche_ids": ["1001", "1002"], "audit_config_id": room.config_id}
    api = room.api
    refused = await api.post(PATH, json=body, headers=person.headers)
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    own = await api.post(PATH, json=body | {"fiche_ids": ["1001"]}, headers=person.headers)
    answer = await api.get(PATH, headers=person.headers)
    assert answer.status_code == 200, answer.text
    listed = answer.json()["data"]
    assert [line["batch_id"] for line in listed] == [own.json()["batch_id"]]
    for way in ("", "/items"):
        assert (await api.get(f"{PATH}/{others}{way}", headers=person.headers)).status_code == 404
    for way in ("/cancel", "/resume"):
        assert (await api.post(f"{PATH}/{others}{way}", headers=person.headers)).status_code == 404
    for whose, admitted in ((others, False), (own.json()["batch_id"], True)):
        names = [job_channel(whose)]
        async with room.database.read() as session:
            if admitted:
                await authorise(session, person.caller, names)
            else:
                with pytest.raises(Forbidden):
                    await authorise(session, person.caller, names)
    async with room.database.write() as session:  # the fiche is another team's now
        await session.execute(
            update(AuditBatchItem).where(AuditBatchItem.fiche_id == "1001").values(fiche_id="1002")
        )
    seen = await api.get(f"{PATH}/{own.json()['batch_id']}/items", headers=person.headers)
    assert seen.json()["data"] == []
