"""Who may change whom, and grant what: every route of administration asks here (spec/http-auth §4, §7.7). Pure.

Nobody hands on what they do not hold, and nobody touches a person or a role that may do what they may not.
"""

from dataclasses import dataclass

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.grants import Grant, Grants
from conforme.foundation.errors import Forbidden, Invalid

ADMIN, OPERATOR, VIEWER = "admin", "operator", "viewer"
PROTECTED = frozenset({ADMIN, OPERATOR, VIEWER})
"""Roles that come with the product: what others rely on is neither edited nor deleted."""


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who changes accounts: an actor under the permission for it, and all else they may do."""

    actor: Actor
    grants: Grants

    @property
    def reach(self) -> "Reach":
        return Reach(self.grants, self.actor.groupes, self.actor.crm_user_id)


@dataclass(frozen=True, slots=True)
class Reach:
    """What somebody may do, and over which fiches: two with the same grants may see different ones."""

    grants: Grants
    groupes: frozenset[str]
    crm_user_id: str | None

    def _holds(self, asked: Scope | None, held: Scope | None, of: "Reach") -> bool:
        """Whether all fiches within `asked`, as `of` sees them, are within `held`, as this one sees them."""
        if asked is None or held is Scope.ALL:
            return True
        if held is None or asked.rank > held.rank:
            return False
        if asked is Scope.GROUP:
            return of.groupes <= self.groupes
        return of.crm_user_id is None or (held is Scope.SELF and of.crm_user_id == self.crm_user_id)

    def contains(self, other: "Reach") -> bool:
        """Whether whoever has this reach gains nothing by acting as the other."""
        return all(
            self._holds(grant.read, mine.read, other) and self._holds(grant.write, mine.write, other)
            for key, grant in other.grants.by_key.items()
            for mine in [self.grants.by_key.get(key, Grant(key))]
        )


class BeyondOwnGrants(Forbidden):
    """You cannot grant what you do not hold"""


class AboveOwnGrants(Forbidden):
    """You cannot change what may do more than you"""


class BeyondOwnReach(Forbidden):
    """You cannot take over an account that sees what you do not"""


class BeyondOwnSight(Forbidden):
    """You cannot give sight of what you do not see"""


class OwnAccount(Forbidden):
    """You cannot change your own roles or status, nor delete yourself"""


def require_grantable(caller_grants: Grants, granted: Grants) -> None:
    """Whoever hands on grants must hold each of them, as far as it reaches.

    `granted` is everything that somebody gets by the change: all grants of a role newly assigned, all that a role
    grants afterwards, all that an API token may do.

    Raises:
        BeyondOwnGrants: some of it is not theirs to give.
    """
    if not caller_grants.covers(granted):
        raise BeyondOwnGrants


def require_not_above(caller_grants: Grants, target_grants: Grants) -> None:
    """Nobody edits, disables, re-passwords, logs out, re-invites or deletes a person who may do more than they.

    A role is treated alike: its grants are the target's.

    Raises:
        AboveOwnGrants: the target may do something that the caller may not.
    """
    if not caller_grants.covers(target_grants):
        raise AboveOwnGrants


def require_no_further(caller: Reach, target: Reach) -> None:
    """Whoever sets a password or holds an invitation can sign in as that person: they must gain nothing by it.

    Grants alone do not tell: a colleague with the same grants may be in more teams, or be another user of the CRM.

    Raises:
        BeyondOwnReach: the target sees a fiche, or may do something with it, that the caller does not or may not.
    """
    if not caller.contains(target):
        raise BeyondOwnReach


def require_seen(caller: Reach, given: Reach) -> None:
    """Whoever puts somebody into a team gives them sight of its fiches: only of what they see themselves.

    Raises:
        BeyondOwnSight: some of it the caller does not see.
    """
    if not caller.contains(given):
        raise BeyondOwnSight


def require_everywhere(actor: Actor) -> None:
    """For what belongs to no team: roles, new people, the audit log.

    Raises:
        Forbidden: the actor's permission does not reach over everything.
    """
    if actor.scope is not Scope.ALL:
        raise Forbidden


def require_somebody_else(actor: Actor, user_id: int) -> None:
    """Nobody changes their own roles or status, nor deletes themselves: no escalation, and no locking oneself out.

    Raises:
        OwnAccount: it is the caller, or the person for whom a token of theirs calls.
    """
    if actor.user_id == user_id:
        raise OwnAccount


def require_unprotected(key: str, done: str) -> None:
    """Raises `Invalid` for a role that comes with the product; `done` is `edit` or `delete`."""
    if key in PROTECTED:
        raise Invalid(f"Cannot {done} protected role")
