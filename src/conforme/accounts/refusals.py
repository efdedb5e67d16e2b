"""Refused authorisations are kept in the audit log, before the answer leaves."""

import asyncio
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError

from conforme.accounts import audit_log
from conforme.accounts.auth import identify
from conforme.foundation.resources import Resources
from conforme.foundation.web import answer_known

log = structlog.get_logger(__name__)

ACTION = "authorisation.refused"
RECORD_SECONDS = 5.0
"""A caller who is refused waits no longer than this for it to be recorded."""


async def refused(request: Request, error: Exception) -> Response:
    """Answers a `Forbidden` as any error is answered, once it is recorded; the same when it cannot be."""
    try:
        async with asyncio.timeout(RECORD_SECONDS):
            await _recorded(request)
    except (SQLAlchemyError, TimeoutError, OSError) as trouble:
        log.error("refusal not recorded", route=_template(request), error=type(trouble).__name__)  # noqa: TRY400 -- a database's error may quote the row
    return await answer_known(request, error)


async def _recorded(request: Request) -> None:
    """In a transaction of its own; nothing for a stranger, who is told nothing of what exists."""
    caller = await identify(request)
    if caller is None:
        return
    resources: Resources = request.app.state.resources
    details: dict[str, Any] = {"status": int(HTTPStatus.FORBIDDEN)}
    if needed := request.scope.get("state", {}).get("needed"):
        details["needed"] = list(needed)
    target = f"{request.method} {_template(request)}"
    async with resources.database.write() as session:
        await audit_log.record(session, caller.name, ACTION, target, **details)


def _template(request: Request) -> str:
    """The route's path with names in place of values: a value may be personal."""
    return getattr(request.scope.get("route"), "path", "unknown route")
