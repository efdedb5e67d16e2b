"""Who calls. Every query on fiche-linked data takes an `Actor`: there is no unscoped overload."""

from dataclasses import dataclass, field
from enum import StrEnum


class Scope(StrEnum):
    """How far a grant reaches (spec/http-auth §3.3)."""

    SELF = "SELF"
    GROUP = "GROUP"
    ALL = "ALL"


@dataclass(frozen=True, slots=True)
class Actor:
    """A caller and how far they see.

    `groupes` matters under `Scope.GROUP`, `crm_user_id` under `Scope.SELF`.
    """

    name: str
    """Stable name for logs and ledgers: `token:<fingerprint>`, `user:<id>`, `system:<what>`."""
    scope: Scope
    groupes: frozenset[str] = field(default_factory=frozenset)
    crm_user_id: str | None = None
    user_id: int | None = None

    @classmethod
    def system(cls, what: str) -> "Actor":
        """The product itself, doing work that was authorised when it was asked for."""
        return cls(name=f"system:{what}", scope=Scope.ALL)
