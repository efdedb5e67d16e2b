"""A database that is away for a moment: restarted, failing over, too busy to accept anybody."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

T = TypeVar("T")

log = structlog.get_logger(__name__)

PASSING_STATES = ("08", "40", "57P0", "53300")
"""SQLSTATEs that pass by themselves: connection lost, transaction lost to another, server going or coming, full."""
FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0


def is_outage(error: BaseException) -> bool:
    """Whether the same statements are worth another try on another connection."""
    if isinstance(error, PoolTimeout):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return cause.sqlstate is None or cause.sqlstate.startswith(PASSING_STATES)


async def outlast(work: Callable[[], Awaitable[T]]) -> T:
    """Does `work`, again and again while the database is away; the caller's deadline ends the patience."""
    wait = FIRST_WAIT
    while True:
        try:
            return await work()
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("the database is away", error=type(error).__name__)
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 -- spreads load, guards nothing
        wait = min(LONGEST_WAIT, wait * 2)
