"""Who calls, and under which permission they act.

A `Caller` is whoever presented a credential, with all they may do. Guards turn it into an `Actor`: the same caller
acting under one permission, and so with one scope. Every query on fiche-linked data takes an `Actor`: there is no
unscoped overload.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from conforme.accounts.grants import EVERYTHING, Grants, Scope
from conforme.foundation.errors import Forbidden

__all__ = ["Actor", "Caller", "Scope"]

MISSING_PERMISSION = "Missing permission"


@dataclass(frozen=True, slots=True)
class Actor:
    """A caller and how far they see.

    `groupes` matters under `Scope.GROUP`, `crm_user_id` under `Scope.SELF`.
    """

    name: str
    """Stable name for logs and ledgers: `token:<fingerprint>`, `user:<id>`, `system:<what>`."""
    scope: Scope
    groupes: frozenset[str] = field(default_factory=frozenset)
    """What a fiche may say its groupe is: every name the CRM has given the caller's teams, and their CRM ids."""
    crm_user_id: str | None = None
    user_id: int | None = None

    @classmethod
    def system(cls, what: str) -> "Actor":
        """The product itself, doing work that was authorised when it was asked for."""
        return cls(name=f"system:{what}", scope=Scope.ALL)


@dataclass(frozen=True, slots=True)
class Person:
    """The user behind a session, as the wire shows them (spec/http-auth §2.5)."""

    id: int
    email: str
    roles: tuple[str, ...]
    crm_user_id: str | None
    teams: tuple[str, ...]
    """Names of their teams."""
    session_id: UUID


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever presented a valid credential."""

    name: str
    grants: Grants
    groupes: frozenset[str] = field(default_factory=frozenset)
    crm_user_id: str | None = None
    user_id: int | None = None
    """The user who acts, or for whom a token of theirs acts."""
    person: Person | None = None
    """Only with a session of their own: tokens are no people."""

    @classmethod
    def machine(cls, fingerprint: str) -> "Caller":
        """The holder of a token of the environment: everything is allowed."""
        return cls(name=f"token:{fingerprint}", grants=EVERYTHING)

    def acting(self, permissions: Sequence[str]) -> Actor:
        """The caller under permissions that are all needed, seeing as far as the narrowest of them.

        No permission named means that being known is enough: then nothing of a fiche is to be seen, and the scope is
        the narrowest there is.

        Raises:
            Forbidden: one of them is not granted.
        """
        reaches = [self.grants.reach(permission) for permission in permissions]
        granted = [reach for reach in reaches if reach is not None]
        if len(granted) < len(reaches):
            raise Forbidden(MISSING_PERMISSION)
        scope = min(granted, key=lambda reach: reach.rank, default=Scope.SELF)
        return Actor(self.name, scope, self.groupes, self.crm_user_id, self.user_id)
