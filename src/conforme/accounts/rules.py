"""Who may grant what to whom. Pure."""

from conforme.accounts.grants import Grants
from conforme.foundation.errors import Forbidden

NOT_HELD = "You cannot grant what you do not hold"


def require_grantable(caller_grants: Grants, granted: Grants) -> None:
    """Nobody gives what they do not hold. Raises `Forbidden`."""
    if not caller_grants.covers(granted):
        raise Forbidden(NOT_HELD)


def require_not_above(caller_grants: Grants, target_grants: Grants) -> None:
    """Nobody changes the account of whoever may do more than they. Raises `Forbidden`."""
    if not caller_grants.covers(target_grants):
        raise Forbidden(NOT_HELD)
