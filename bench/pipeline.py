"""What one audit costs: our own CPU, time beyond the model's, memory; against a bare asyncio loop that does the same.

CPU is of the replica and of the whole PostgreSQL server; the sandbox is a process of its own and does not count. What
else the machine does makes the same work dearer, for minutes at a time: the figure that has a goal is the median of
several batches, and their range says how far to trust it.
"""

import asyncio
from collections.abc import Sequence
from statistics import median

from bench.bare import BareRun, bare_audits
from bench.pace import pace, told
from bench.rig import STEPS, Audited, Cpu, Replica, Rig, fiches, rig

ROUNDS = 8
BATCHES = 5
WARM_UP = 4
MODEL_MS = 1000
WAVES = 2
"""The first step alone, then the others together: what the model's latency makes unavoidable."""
MEGABYTE = 1024 * 1024


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    days = fiches()
    print(f"{STEPS} steps per audit; before: {told()}")
    async with rig() as made:
        async with made.replica() as replica:
            known, new = days[: ROUNDS // 2], days[ROUNDS // 2 : ROUNDS]
            await _one_by_one(
                made, replica, known * WARM_UP
            )  # now their words are known, and statements prepared
            first, _ = await _one_by_one(made, replica, new)
            _say_cpu("a fiche seen for the first time (CRM and speech included)", first, len(new))
            batches = [await _one_by_one(made, replica, known * 2) for _ in range(BATCHES)]
            again, quick = sorted(batches, key=lambda batch: batch[0].total)[BATCHES // 2]
            _say_cpu("a fiche whose words are known", again, ROUNDS)
            _say_range([spent.total / ROUNDS for spent, _ in batches])
            await made.answer_after(MODEL_MS)
            slow, waited = await _one_by_one(made, replica, known * 2)
            _say_cpu(f"the same, model answering after {MODEL_MS} ms", slow, ROUNDS)
            _say_latency(waited)
            resident, peak = replica.memory()
            print(
                f"resident memory of the replica: {resident // MEGABYTE} MB, at its peak {peak // MEGABYTE} MB"
            )
        await _against_bare(made, quick, waited, again)
    print(f"after: {told()}")


async def _one_by_one(made: Rig, replica: Replica, chosen: Sequence[str]) -> tuple[Cpu, list[Audited]]:
    """Audits one after the other, and the CPU that all of them took."""
    before = made.cpu([replica])
    audited = [each for fiche in chosen for each in await made.audit([replica], [fiche])]
    return made.cpu([replica]) - before, audited


def _say_cpu(what: str, spent: Cpu, audits: int) -> None:
    application, database, total = (
        each / audits for each in (spent.application, spent.database, spent.total)
    )
    print(
        f"own CPU per audit, {what}: {total:.2f} s (application {application:.2f}, PostgreSQL {database:.2f}),"
        f" {total / (pace() / 1000):.1f} times the fixed work"
    )


def _say_range(totals: Sequence[float]) -> None:
    print(f"  the median of {BATCHES} batches, from {min(totals):.2f} to {max(totals):.2f} s")


def _say_latency(waited: Sequence[Audited]) -> None:
    beyond = sorted(each.seconds - WAVES * MODEL_MS / 1000 for each in waited)
    print(
        f"request to stored verdict, beyond {WAVES} waves of {MODEL_MS} ms:"
        f" median {median(beyond):.2f} s, worst {beyond[-1]:.2f} s"
    )


async def _against_bare(made: Rig, quick: list[Audited], waited: list[Audited], spent: Cpu) -> None:
    """The same questions to the same model by a plain loop: no database, no durability, no events."""
    audit_ids = [each.audit_id for each in quick]
    await made.answer_after(0)
    bare = await bare_audits(made, audit_ids)
    await made.answer_after(MODEL_MS)
    bare_waited = await bare_audits(made, [each.audit_id for each in waited[: ROUNDS // 2]])
    print(f"\n{'per step':<34}{'engine':>10}{'bare loop':>12}{'ratio':>8}")
    _say_ratio("time, model answering at once", _seconds(quick), bare)
    _say_ratio(f"time, model answering after {MODEL_MS} ms", _seconds(waited), bare_waited)
    cpu = spent.total / len(quick) / STEPS
    print(
        f"{'own CPU':<34}{cpu * 1000:>7.1f} ms{bare.cpu_per_step * 1000:>9.1f} ms{cpu / bare.cpu_per_step:>8.2f}"
    )


def _seconds(audited: Sequence[Audited]) -> float:
    return median(each.seconds for each in audited) / STEPS


def _say_ratio(what: str, engine: float, bare: BareRun) -> None:
    ratio = engine / bare.seconds_per_step
    print(f"{what:<34}{engine * 1000:>7.1f} ms{bare.seconds_per_step * 1000:>9.1f} ms{ratio:>8.2f}")
