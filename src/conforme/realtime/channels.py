"""Who may listen on which channel."""

from collections.abc import Sequence

from conforme.accounts.actor import Caller, Scope
from conforme.foundation.database import ReadSession
from conforme.foundation.errors import Forbidden


async def authorise(session: ReadSession, caller: Caller, channels: Sequence[str]) -> None:
    """Raises `Forbidden` unless the caller may listen on every one of the channels."""
    del session, channels
    if caller.grants.reach("audits.read") is not Scope.ALL:
        raise Forbidden
