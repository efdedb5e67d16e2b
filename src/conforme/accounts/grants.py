"""What a caller may do, and how far it reaches (spec/http-auth §3.1). Pure.

A guard names a permission: a key and what is done with it, for example `audits.run`. A grant says of one key whether
it may be read and written, and over which fiches each of the two reaches.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Scope(StrEnum):
    """How far a grant reaches (spec/http-auth §3.3)."""

    SELF = "SELF"
    GROUP = "GROUP"
    ALL = "ALL"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {Scope.SELF: 0, Scope.GROUP: 1, Scope.ALL: 2}

KEYS: Mapping[str, str] = {
    "fiches": "Sales files of the CRM",
    "audits": "Audits and their verdicts",
    "audit-configs": "Audit configurations",
    "automation": "Schedules and automated runs",
    "recordings": "Recordings of calls",
    "transcriptions": "Transcriptions of calls",
    "products": "Insurance catalogue",
    "chat": "Conversations over audits and fiches",
    "realtime": "Live events",
    "admin.users": "People, teams and API tokens",
    "admin.roles": "Roles and what they grant",
    "admin.permissions": "The list of permissions",
}
"""Every permission key with its description, in the order they are shown."""

_READS = frozenset({"read", "auth"})
_WRITES = frozenset({"write", "run", "rerun", "fetch", "use", "test"})
_SUFFIX = re.compile(r"\A(?P<key>.+)\.(?P<suffix>[a-z]+)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Need:
    """What a guard asks: one key, read or written."""

    key: str
    write: bool

    @classmethod
    def of(cls, permission: str) -> Self:
        """Reads `audits.run`, `admin.users.write` or a bare `audits`, which is read."""
        key, write = split_suffix(permission)
        return cls(key, write is True)


def split_suffix(permission: str) -> tuple[str, bool | None]:
    """The key of a permission, and whether its suffix writes; None when it has no suffix of ours."""
    found = _SUFFIX.match(permission)
    suffix = found["suffix"].lower() if found else ""
    if found and suffix in _READS | _WRITES:
        return found["key"], suffix in _WRITES
    return permission, None


@dataclass(frozen=True, slots=True)
class Grant:
    """Reach over one key; None where the key may not be read, or not be written."""

    key: str
    read: Scope | None = None
    write: Scope | None = None

    @classmethod
    def of_role(cls, key: str, *, read: bool, write: bool, scope: Scope) -> Self:
        """As a role states it: one scope for both."""
        return cls(key, scope if read else None, scope if write else None)

    def joined(self, other: "Grant") -> "Grant":
        """The wider of the two, for each of read and write."""
        return Grant(self.key, _wider(self.read, other.read), _wider(self.write, other.write))

    def met(self, other: "Grant") -> "Grant":
        """What both allow."""
        return Grant(self.key, _narrower(self.read, other.read), _narrower(self.write, other.write))

    def covers(self, other: "Grant") -> bool:
        """Whether everything that `other` allows is allowed by this one."""
        return _reaches(self.read, other.read) and _reaches(self.write, other.write)

    def reach(self, need: Need) -> Scope | None:
        return self.write if need.write else self.read


def _wider(one: Scope | None, other: Scope | None) -> Scope | None:
    return max((scope for scope in (one, other) if scope is not None), key=lambda it: it.rank, default=None)


def _narrower(one: Scope | None, other: Scope | None) -> Scope | None:
    return None if one is None or other is None else min(one, other, key=lambda scope: scope.rank)


def _reaches(held: Scope | None, asked: Scope | None) -> bool:
    return asked is None or (held is not None and held.rank >= asked.rank)


@dataclass(frozen=True, slots=True)
class Grants:
    """All that somebody may do, at most one grant a key."""

    by_key: Mapping[str, Grant]

    @classmethod
    def of(cls, grants: Iterable[Grant]) -> Self:
        """Joins grants of any number of roles: flags add up, the widest scope wins."""
        joined: dict[str, Grant] = {}
        for grant in grants:
            known = joined.get(grant.key)
            joined[grant.key] = grant if known is None else known.joined(grant)
        return cls({key: joined[key] for key in sorted(joined) if joined[key].read or joined[key].write})

    def reach(self, permission: str) -> Scope | None:
        """How far a permission reaches; None when it is not granted."""
        need = Need.of(permission)
        grant = self.by_key.get(need.key)
        return None if grant is None else grant.reach(need)

    def covers(self, other: "Grants") -> bool:
        """Whether whoever holds these could do all that `other` allows: what nobody may grant who fails this."""
        return all(
            key in self.by_key and self.by_key[key].covers(grant) for key, grant in other.by_key.items()
        )

    def by_groupe(self) -> "Grants":
        """Only what reaches by groupe: what somebody sees through their teams."""
        return Grants.of(
            Grant(
                grant.key,
                grant.read if grant.read is Scope.GROUP else None,
                grant.write if grant.write is Scope.GROUP else None,
            )
            for grant in self.by_key.values()
        )

    def met(self, other: "Grants") -> "Grants":
        """What both allow."""
        shared = self.by_key.keys() & other.by_key.keys()
        return Grants.of(self.by_key[key].met(other.by_key[key]) for key in shared)


EVERYTHING = Grants.of(Grant(key, Scope.ALL, Scope.ALL) for key in KEYS)
