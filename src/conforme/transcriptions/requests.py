"""Asking for transcriptions: what is asked for is queued in the caller's transaction."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeGuard

from conforme.accounts.actor import Actor
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable
from conforme.foundation.errors import Invalid
from conforme.recordings.queries import require_visible
from conforme.transcriptions.runs import FicheRun, PriorityName
from conforme.transcriptions.workflows import PRIORITIES, transcribe_fiche

MAX_BATCH: Final = 1000
OVER: Final = frozenset({"done", "failed", "cancelled"})
FICHE_ID: Final = re.compile(r"[0-9]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wish:
    """Fiches to transcribe, each once."""

    fiche_ids: tuple[str, ...]
    priority: PriorityName


def read_priority(value: object) -> PriorityName:
    """`high`, `normal` or `low`; normal when nothing is said. Raises `Invalid` for anything else."""
    if value is None:
        return "normal"
    for name in PRIORITIES:
        if value == name:
            return name
    raise Invalid("priority must be high, normal or low", field="priority")


def read_batch(body: object) -> Wish:
    """The wish in a batch body `{fiche_ids, priority?}`. Raises `Invalid`."""
    given: Any = body if isinstance(body, Mapping) else {}
    fiche_ids = given.get("fiche_ids")
    if not _are_fiche_ids(fiche_ids):
        raise Invalid("Invalid request - fiche_ids array required", field="fiche_ids")
    if len(fiche_ids) > MAX_BATCH:
        raise Invalid(f"fiche_ids must name at most {MAX_BATCH} fiches", field="fiche_ids")
    return Wish(tuple(dict.fromkeys(fiche_ids)), read_priority(given.get("priority")))


def _are_fiche_ids(value: object) -> TypeGuard[list[str]]:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(each, str) and FICHE_ID.fullmatch(each) for each in value)


async def request_one(session: WriteSession, durable: Durable, actor: Actor, wish: Wish) -> str:
    """Queues a run for the one fiche of `wish` and returns its id. Raises `Forbidden`."""
    await require_visible(session, actor, wish.fiche_ids)
    [fiche_id] = wish.fiche_ids
    run_id = f"transcribe-{fiche_id}-{_milliseconds(now())}"
    await _dispatch(session, durable, fiche_id, run_id, wish.priority)
    return run_id


async def request_batch(session: WriteSession, durable: Durable, actor: Actor, wish: Wish) -> Sequence[str]:
    """Queues a run for each fiche and returns their ids, in order. Raises `Forbidden` when one is out of scope.

    A fiche whose run of the day is still going is not queued again; once that is over, it is.
    """
    await require_visible(session, actor, wish.fiche_ids)
    at = now()
    run_ids: list[str] = []
    for fiche_id in wish.fiche_ids:
        run_id = f"transcribe-{fiche_id}-{at.date().isoformat()}"
        if await durable.state(run_id) in OVER:
            run_id = f"{run_id}-{_milliseconds(at)}"
        await _dispatch(session, durable, fiche_id, run_id, wish.priority)
        run_ids.append(run_id)
    return run_ids


async def _dispatch(
    session: WriteSession, durable: Durable, fiche_id: str, run_id: str, priority: PriorityName
) -> None:
    run = FicheRun(fiche_id=fiche_id, run_id=run_id, priority=priority, refresh=True)
    await durable.dispatch(
        session, transcribe_fiche, run, id=run_id, key=fiche_id, priority=PRIORITIES[priority]
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
