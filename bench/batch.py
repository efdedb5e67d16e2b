"""A batch of 500 fiches while one provider call in ten fails and one of two replicas is killed: what is counted, and paid.

Every fiche has one outcome, the totals are those of the outcomes, the end is told once, and what the provider answered
and was stored is paid once.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from datetime import timedelta

from sqlalchemy import text

from bench.pace import told
from bench.rig import DAY, Replica, Rig, rig
from conforme.audit_configs import service
from conforme.audit_configs.shipped import SHORT, shipped
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population

FICHES = int(os.environ.get("FICHES", "500"))
"""Fewer, where only the counting is tried."""
SALES_PER_DAY = 200
FAULT_RATE = 0.1
KILLED_AFTER = FICHES // 4
"""Audits that have ended when the replica dies."""
LIMIT_SECONDS = 1800.0
QUICK = {"LLM_BACKOFF_BASE_SECONDS": "0.2", "REPLICA_LEASE_SECONDS": "6"}


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    print(f"{FICHES} fiches, {FAULT_RATE:.0%} of provider calls fail; before: {told()}")
    async with rig(SALES_PER_DAY, fault_rate=FAULT_RATE) as made:
        async with made.database.write() as session:
            config_id = (await service.import_rules(session, shipped(SHORT), created_by="bench")).id
        async with made.replica(**QUICK) as survivor, made.replica(**QUICK) as victim:
            begun = time.perf_counter()
            wish = {"fiche_ids": _fiche_ids(), "audit_config_id": config_id}
            answer = await survivor.client.post("/api/audits/batch", json=wish)
            batch_id = answer.raise_for_status().json()["batch_id"]
            answered = time.perf_counter() - begun
            await _reached(survivor, batch_id, KILLED_AFTER)
            os.kill(victim.pid, signal.SIGKILL)
            state = await _reached(survivor, batch_id, FICHES)
            seconds = time.perf_counter() - begun
        print(
            f"answered after {answered:.2f} s; all ended after {seconds:.0f} s: {FICHES / seconds * 60:.0f} audits/min"
        )
        await _account(made, batch_id, state)


def _fiche_ids() -> list[str]:
    population = Population(load_corpus(), sales_per_day=SALES_PER_DAY)
    days = (DAY + timedelta(days=number) for number in range(-(-FICHES // SALES_PER_DAY)))
    return [sale.fiche_id for day in days for sale in population.sales(day)][:FICHES]


async def _reached(replica: Replica, batch_id: str, ended: int) -> dict[str, int]:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            answer = await replica.client.get(f"/api/audits/batch/{batch_id}")
            state = answer.raise_for_status().json()["data"]
            if state["completed"] >= ended:
                return state
            await asyncio.sleep(0.5)


async def _account(made: Rig, batch_id: str, state: dict[str, int]) -> None:
    async with made.database.read() as session:
        outcomes = Counter((await session.scalars(text("select outcome from audit_batch_items"))).all())
        fiches = (await session.execute(text("select count(*), count(distinct fiche_id) from audits"))).one()
        ends = await session.scalar(text("select count(*) from events where name = 'batch.completed'"))
        progress = await session.scalar(
            text("select count(distinct payload->>'completed') from events where name = 'batch.progress'")
        )
        asked = (await session.execute(text(_ASKED))).one()
        verdicts = (await session.execute(text(_VERDICTS))).one()
    assert dict(outcomes) == {name: state[name] for name in ("succeeded", "failed") if state[name]}, outcomes
    assert tuple(fiches) == (FICHES, FICHES), fiches
    assert ends == 1, ends
    assert progress == FICHES + 1, progress
    assert verdicts[0] == verdicts[1], verdicts
    print(
        f"outcomes: {dict(outcomes)}, as the totals of {batch_id} say; audits: {fiches[0]}, fiches: {fiches[1]}"
    )
    print(
        f"told: {progress} different counts of progress, {ends} end; verdicts: {verdicts[0]}, one per step that was analysed"
    )
    print(
        f"steps asked about: {asked[0]}, of them paid for more than once (answers in flight at the death): {asked[1]}"
    )


_VERDICTS = """
select count(*), count(distinct (audit_id, step_position)) from audit_verdicts where kind = 'run'
"""
_ASKED = """
select count(*), count(*) filter (where lines > 1)
  from (select count(*) as lines from llm_calls
         where purpose = 'audit-step' and prompt_tokens + output_tokens > 0 group by audit_id, step_position) asked
"""
