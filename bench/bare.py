"""The questions of an audit put by a plain asyncio loop, in a process of its own: `python -m bench.bare`.

What remains when everything that makes an audit durable, visible and resumable is taken away.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from conforme.audits import queries
from conforme.audits.analysis import analyse_step
from conforme.audits.case import Case, case_of
from conforme.audits.evidence import Policy
from conforme.foundation.database import Database
from conforme.foundation.llm import LanguageModel, LazyModel, model_from
from conforme.foundation.outbound import Outbound
from conforme.settings import Settings

if TYPE_CHECKING:
    from bench.rig import Rig


@dataclass(frozen=True)
class BareRun:
    """Seconds per step: median over the audits, and CPU on average."""

    seconds_per_step: float
    cpu_per_step: float


async def bare_audits(made: "Rig", audit_ids: Sequence[int]) -> BareRun:
    """Asks the questions of these audits again, in a fresh process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.bare",
        *(str(each) for each in audit_ids),
        env=made.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, "the bare loop failed"
    return BareRun(**json.loads(told.splitlines()[-1]))


async def _main(audit_ids: Sequence[int]) -> BareRun:
    settings = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]
    outbound = Outbound(settings)
    model = model_from(settings, outbound)
    assert isinstance(model, LazyModel)
    model.warm_up()
    cases = await _cases(os.environ["DATABASE_URL"], audit_ids)
    await _audit(model, cases[0], "bare-warm-up")  # opens the connections
    seconds: list[float] = []
    steps, burnt = sum(len(case.rules.steps) for case in cases), time.process_time()
    for number, case in enumerate(cases):
        begun = time.perf_counter()
        await _audit(model, case, f"bare-{number}")
        seconds.append((time.perf_counter() - begun) / len(case.rules.steps))
    run = BareRun(median(seconds), (time.process_time() - burnt) / steps)
    await outbound.aclose()
    return run


async def _cases(url: str, audit_ids: Sequence[int]) -> list[Case]:
    database = Database(url)
    cases: list[Case] = []
    async with database.alone() as connection:
        for audit_id in audit_ids:
            audit = await queries.to_analyse(connection, audit_id, 0)
            assert audit is not None
            assert audit.transcript_snapshot_id is not None
            cases.append(
                await case_of(
                    connection,
                    revision_id=audit.config_revision_id,
                    snapshot_id=audit.transcript_snapshot_id,
                )
            )
    await database.dispose()
    return cases


async def _audit(model: LanguageModel, case: Case, key: str) -> None:
    """One step alone, then the others together, as the engine does it."""
    policy = Policy(gating=True, min_quote_chars=12)
    first, *rest = case.rules.steps
    await analyse_step(model, case, first, cache_key=key, policy=policy)
    await asyncio.gather(*(analyse_step(model, case, step, cache_key=key, policy=policy) for step in rest))


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_main([int(each) for each in sys.argv[1:]])))))
