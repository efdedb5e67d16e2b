"""Runs of long ago are deleted with what hangs on them; audits are not, nor what is under way."""

from dataclasses import replace
from typing import Any, cast

import pytest
from run_room import Room
from sqlalchemy import text

from conforme.automation import workflows
from conforme.foundation import retention
from conforme.foundation.durable import JobContext
from conforme.foundation.resources import Resources


class Straight:
    """A context that remembers nothing: the deletions are what is tested."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    step = staticmethod(lambda _name, fn: fn())


async def trimmed(resources: Resources, **changed: Any) -> dict[str, int]:
    settings = resources.settings.model_copy(update=changed)
    context = cast("JobContext", Straight(replace(resources, settings=settings)))
    return await workflows.retention.body(context, None)  # pyright: ignore[reportArgumentType]


async def ended(room: Room, *fiche_ids: str, days: int) -> int:
    run_id = await room.begun(*fiche_ids)
    for fiche_id in fiche_ids:
        await room.fiche(fiche_id)
        await room.done(run_id, fiche_id)
    async with room.database.write() as session:
        await session.execute(
            text(
                "update automation_runs set completed_at = now() - make_interval(days => :days) where id = :id"
            ),
            {"days": days, "id": run_id},
        )
    return run_id


@pytest.mark.parametrize("batch", [2, 1000])
async def test_runs_are_kept_as_long_as_the_setting_says_and_their_audits_for_ever(
    room: Room, resources: Resources, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", batch)
    old = await ended(room, "1001", "1002", "1003", days=401)
    audits = [audit_id for item in await room.items(old) for audit_id in item.audit_ids]
    young, open_one = await ended(room, "1004", days=399), await room.begun("1005")
    assert "runs" not in await trimmed(resources, automation_runs_kept_days=0)
    deleted = await trimmed(resources)
    assert (deleted["fiches of runs"], deleted["runs"]) == (3, 1)
    assert deleted["lines of runs"] > 0
    left = (await room.api.get("/api/automation/runs")).json()["data"]
    assert {each["id"] for each in left} == {str(young), str(open_one)}
    assert len(await room.items(young)) == 1
    assert [(await room.audit_row(audit_id)).status for audit_id in audits] == ["completed"] * 3
