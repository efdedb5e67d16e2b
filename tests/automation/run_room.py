"""Runs carried out by hand, step by step: the application of these tests has no workers."""

from collections import Counter
from typing import Any

import httpx2
from sqlalchemy import func, select, update

from audit_rows import fiche as fiche_row
from audit_rows import step
from conforme.accounts.actor import Actor
from conforme.audits import endings
from conforme.audits.errors import AuditFailed
from conforme.audits.models import AuditRow
from conforme.automation import fiche_work, run_work, stopping
from conforme.automation.columns import columns_of, owner_columns
from conforme.automation.fiche_work import Work
from conforme.automation.models import AutomationRun, AutomationRunFiche, AutomationSchedule
from conforme.automation.rules import ScheduleRules, Selection, Timing
from conforme.automation.snapshots import snapshot_of
from conforme.foundation.database import Database
from conforme.foundation.events import EventRow
from conforme.foundation.resources import Resources
from conforme.recordings.models import Recording

API = "/api/automation"
FETCHED: dict[str, Any] = {"error": None, "code": None, "not_found": False}
HEARD: dict[str, Any] = {"failed": 0, "error": None, "code": None}
OWNER = Actor.system("test")


class Room:
    """A schedule at a time, and its runs."""

    def __init__(
        self, api: httpx2.AsyncClient, database: Database, resources: Resources, config_id: int
    ) -> None:
        self.api = api
        self.database = database
        self.resources = resources
        self.config_id = config_id

    async def schedule(self, *fiche_ids: str, owner: Actor = OWNER, **said: Any) -> int:
        """A manual schedule of these fiches, unless `said` tells otherwise; columns beside rules as they are."""
        rules: dict[str, Any] = {
            name: said.pop(name) for name in list(said) if name in ScheduleRules.model_fields
        }
        selection = rules.pop("selection", None) or Selection(mode="manual", fiche_ids=fiche_ids)
        rules.setdefault("specific_audit_configs", (self.config_id,))
        rules.setdefault("timing", Timing(schedule_type="MANUAL"))
        whole = ScheduleRules(selection=selection, **rules)
        row = AutomationSchedule(
            **{"name": "Chaque nuit", **columns_of(whole), **owner_columns(owner), **said}
        )
        async with self.database.write() as session:
            session.add(row)
            await session.flush()
            return row.id

    async def launch(self, schedule_id: int) -> int:
        """A run that nobody works on yet."""
        async with self.database.write() as session:
            schedule = await session.get_one(AutomationSchedule, schedule_id)
            number = await session.scalar(select(func.count()).select_from(AutomationRun)) or 0
            run = AutomationRun(
                schedule_id=schedule_id,
                job_id=f"automation-run-{number + 1}",
                trigger="manual",
                requested_by="test",
                config_snapshot=snapshot_of(schedule, overrides=None, due=None),
            )
            session.add(run)
            await session.flush()
            return run.id

    async def begun(self, *fiche_ids: str, **said: Any) -> int:
        """A run whose fiches are known, the first of them in work."""
        run_id = await self.launch(await self.schedule(*fiche_ids, **said))
        await run_work.begin(self.resources, run_id)
        await run_work.select_fiches(self.resources, run_id)
        return run_id

    async def fiche(
        self, fiche_id: str, *, recordings: int = 1, heard: bool = True, groupe: str = "R1"
    ) -> None:
        """A fiche as its fetch leaves it."""
        async with self.database.write() as session:
            cache_id = await fiche_row(session, fiche_id, groupe)
            for number in range(recordings):
                session.add(
                    Recording(
                        fiche_cache_id=cache_id,
                        call_id=f"{fiche_id}-{number}",
                        recording_url="https://calls.example.test/1.mp3",
                        duration_seconds=600,
                        has_transcription=heard,
                        transcription_state="done" if heard else "pending",
                    )
                )

    async def work(self, run_id: int, fiche_id: str) -> Work:
        item = await self.item(run_id, fiche_id)
        return Work(run_id, fiche_id, item.begun)

    async def judge(self, run_id: int, fiche_id: str, **told: Any) -> dict[str, Any]:
        work = await self.work(run_id, fiche_id)
        return await fiche_work.judge(self.resources, work, FETCHED | told)

    async def audit(self, run_id: int, fiche_id: str, **heard: Any) -> dict[str, Any]:
        """The fiche as far as its audits, which begin."""
        judged = await self.judge(run_id, fiche_id)
        if not judged["go"]:
            return judged
        return await fiche_work.begin_audits(self.resources, await self.work(run_id, fiche_id), HEARD | heard)

    async def audit_unheard(
        self, run_id: int, fiche_id: str, error: str | None = "The speech service does not answer"
    ) -> None:
        """The fiche after a transcription that brought nothing."""
        heard = HEARD | {"error": error, "code": error and "EXTERNAL_API_ERROR"}
        await fiche_work.begin_audits(self.resources, await self.work(run_id, fiche_id), heard)

    async def complete(self, run_id: int, fiche_id: str) -> None:
        for audit_id in await self._open_audits(run_id, fiche_id):
            async with self.database.write() as session:
                await session.execute(
                    update(AuditRow).where(AuditRow.id == audit_id).values(status="running")
                )
                await step(session, audit_id, 1)
            await endings.finish(self.resources, audit_id)

    async def fail(self, run_id: int, fiche_id: str, why: str = "The model does not answer") -> None:
        for audit_id in await self._open_audits(run_id, fiche_id):
            await endings.fail(self.resources, audit_id, AuditFailed(why, phase="analysis"))

    async def done(self, run_id: int, fiche_id: str) -> None:
        await self.audit(run_id, fiche_id)
        await self.complete(run_id, fiche_id)

    async def stop(self, run_id: int) -> None:
        """What the job of a cancelled run does."""
        await stopping.stop(self.resources, run_id)

    async def run(self, run_id: int) -> AutomationRun:
        async with self.database.read() as session:
            return await session.get_one(AutomationRun, run_id)

    async def item(self, run_id: int, fiche_id: str) -> AutomationRunFiche:
        async with self.database.read() as session:
            return await session.get_one(AutomationRunFiche, (run_id, fiche_id))

    async def audit_row(self, audit_id: int) -> AuditRow:
        async with self.database.read() as session:
            return await session.get_one(AuditRow, audit_id)

    async def items(self, run_id: int) -> list[AutomationRunFiche]:
        async with self.database.read() as session:
            query = select(AutomationRunFiche).where(AutomationRunFiche.run_id == run_id)
            return list(await session.scalars(query.order_by(AutomationRunFiche.fiche_id)))

    async def check(self, run_id: int) -> AutomationRun:
        """The run; its counters are those of its fiches' outcomes."""
        run, items = await self.run(run_id), await self.items(run_id)
        counted = Counter(each.outcome for each in items)
        assert (run.successful_fiches, run.failed_fiches, run.ignored_fiches) == (
            counted["successful"],
            counted["failed"],
            counted["ignored"],
        )
        assert run.total_fiches == len(items) - counted["ignored"]
        assert run.audits_run == sum(each.audits_run for each in items)
        assert run.transcriptions_run == sum(each.transcriptions_run for each in items)
        assert run.spent_micros == sum(each.spent_micros for each in items)
        return run

    async def outcomes(self, run_id: int) -> dict[str, str | None]:
        return {each.fiche_id: each.outcome for each in await self.items(run_id)}

    async def told(self, name: str) -> list[dict[str, Any]]:
        async with self.database.read() as session:
            query = select(EventRow).where(EventRow.name == name).order_by(EventRow.id)
            return [each.payload for each in await session.scalars(query)]

    async def jobs(self, like: str) -> list[str]:
        """Ids of durable jobs that were queued."""
        from sqlalchemy import text

        async with self.database.read() as session:
            query = text(
                "select workflow_uuid from dbos.workflow_status where workflow_uuid like :like order by 1"
            )
            return list(await session.scalars(query, {"like": like}))

    async def _open_audits(self, run_id: int, fiche_id: str) -> list[int]:
        async with self.database.read() as session:
            query = select(AuditRow.id).where(
                AuditRow.automation_run_id == run_id,
                AuditRow.fiche_id == fiche_id,
                AuditRow.status.in_(("pending", "running")),
            )
            return list(await session.scalars(query.order_by(AuditRow.id)))
