"""Who may subscribe to which channel at Pusher (spec/realtime §2.1), and as whom."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from conforme.accounts.actor import Caller, Person, Scope
from conforme.foundation.database import Database
from conforme.foundation.errors import Forbidden, Unavailable
from conforme.realtime import channels
from conforme.realtime.pusher_names import TEST_CHANNELS, USER_PREFIX
from conforme.realtime.reduction import as_json

FICHE_PREFIX = "private-fiche-"
SHARED = ("private-audit-", FICHE_PREFIX, "private-job-", "private-global")
"""Channels that streams have as well: one rule for both."""


async def authorise_subscription(database: Database, caller: Caller, channel: str) -> None:
    """Fails closed: a channel without a rule is nobody's.

    Raises:
        Forbidden: not theirs.
        Unavailable: it cannot be found out whose it is.
    """
    if not channel.startswith(SHARED):
        if not _may_join(caller, channel):
            raise Forbidden
        return
    number = channel.removeprefix(FICHE_PREFIX)
    if number != channel and not (number.isascii() and number.isdigit()):
        raise Forbidden
    try:
        async with database.read() as session:
            await channels.authorise(session, caller, [channel])
    except Forbidden:
        raise Forbidden from None
    except (SQLAlchemyError, TimeoutError, OSError):
        raise Unavailable("Realtime not available") from None


def _may_join(caller: Caller, channel: str) -> bool:
    """Channels that are not about a fiche."""
    if channel == "presence-global":
        return True
    if channel.startswith("presence-org-"):
        return caller.grants.reach("automation.read") is not None
    if channel in TEST_CHANNELS:
        return caller.grants.reach("realtime.test") is Scope.ALL
    return caller.person is not None and channel == f"{USER_PREFIX}{caller.person.id}"


def channel_data(person: Person, user_info: Mapping[str, Any]) -> str:
    """Who joins a presence channel, as JSON text: what the page says of them, then what we know."""
    known = {"email": person.email, "roles": list(person.roles)}
    return as_json({"user_id": str(person.id), "user_info": {**user_info, **known}})
