"""What a replica with nothing to do takes of a core, PostgreSQL included."""

import asyncio

from bench.pace import told
from bench.rig import rig

SECONDS = 20.0
SETTLES = 5.0
"""After its start a replica still looks around."""


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    async with rig() as made, made.replica() as replica:
        await asyncio.sleep(SETTLES)
        before = made.cpu([replica])
        await asyncio.sleep(SECONDS)
        spent = made.cpu([replica]) - before
        print(
            f"idle replica, {SECONDS:.0f} s: {spent.total / SECONDS:.1%} of a core"
            f" (application {spent.application / SECONDS:.1%}, PostgreSQL {spent.database / SECONDS:.1%});"
            f" {told()}"
        )
