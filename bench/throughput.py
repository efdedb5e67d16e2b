"""Audits per minute with one and two replicas, when the model answers at once and when it takes a second.

Replicas, PostgreSQL and the sandbox share the cores of one machine: where the model answers at once the machine is
the limit, and a second replica gains only what cores are left. All limits of concurrency are out of the way.
"""

import asyncio
import time
from contextlib import AsyncExitStack

from bench.pace import told
from bench.rig import SALES, STEPS, WIDE, Rig, fiches, rig

AUDITS = SALES
MODEL_MS = (0, 1000)
REPLICAS = (1, 2)


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    print(f"{STEPS} steps per audit, {AUDITS} audits asked for at once; before: {told()}")
    print(f"{'':<12}{'model':>10}{'audits/min':>12}{'own cores':>11}{'ratio':>8}")
    async with rig() as made:
        async with made.replica(**WIDE) as replica:
            await made.audit([replica], fiches())  # their words are known from here on
        single: dict[int, float] = {}
        for count in REPLICAS:
            await _with_replicas(made, count, single)


async def _with_replicas(made: Rig, count: int, single: dict[int, float]) -> None:
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(made.replica(**WIDE)) for _ in range(count)]
        await made.answer_after(0)
        await made.audit(replicas, fiches()[: 2 * count])
        for milliseconds in MODEL_MS:
            await made.answer_after(milliseconds)
            before, begun = made.cpu(replicas), time.perf_counter()
            await made.audit(replicas, fiches())
            seconds = time.perf_counter() - begun
            cores = (made.cpu(replicas) - before).total / seconds
            rate = AUDITS / seconds * 60
            base = single.setdefault(milliseconds, rate)
            name = f"{count} replica{'s' if count > 1 else ''}"
            print(f"{name:<12}{milliseconds:>7} ms{rate:>12.0f}{cores:>11.2f}{rate / base:>8.2f}")
