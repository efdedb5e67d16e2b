"""What accounts leave behind and nobody needs any more, deleted once a day."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import TextClause, text

from conforme.foundation.durable import JobContext, schedule
from conforme.foundation.retention import all_of, trimmed

log = structlog.get_logger(__name__)

KEPT_DAYS = 30
"""How long what has ended is still told apart from what never was."""


def _trim(table: str, key: str, ended: str) -> TextClause:
    return text(
        f"delete from {table} where {key} in"  # noqa: S608 -- names of our own
        f" (select {key} from {table} where {ended} order by {key} limit :batch)"
    )


_LONG_AGO = f"< now() - interval '{KEPT_DAYS} days'"
TRIMS: Mapping[str, TextClause] = {
    "attempts": _trim("attempts", "key", "window_ends < now()"),
    "refresh tokens": _trim("refresh_tokens", "id", f"expires_at {_LONG_AGO}"),
    "sessions": _trim("sessions", "id", f"least(ended_at, expires_at) {_LONG_AGO}"),
    "invites": _trim("user_invite_tokens", "id", f"least(used_at, expires_at) {_LONG_AGO}"),
}


@schedule("accounts/retention", "47 3 * * *")
async def retention(context: JobContext, _at: datetime) -> dict[str, int]:
    """Once a day, in batches."""
    trims = {what: partial(trimmed, context.resources, statement) for what, statement in TRIMS.items()}
    deleted = {what: await all_of(context, what, trim) for what, trim in trims.items()}
    log.info("old records of accounts were deleted", **deleted)
    return deleted
