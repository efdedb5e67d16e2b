"""Nobody hands on what they do not hold, nor touches who may do more."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.accounts.actor import Actor
from conforme.accounts.grants import EVERYTHING, KEYS, Grant, Grants, Scope
from conforme.accounts.rules import (
    PROTECTED,
    AboveOwnGrants,
    BeyondOwnGrants,
    BeyondOwnReach,
    OwnAccount,
    Reach,
    require_everywhere,
    require_grantable,
    require_no_further,
    require_not_above,
    require_somebody_else,
    require_unprotected,
)
from conforme.foundation.errors import Forbidden, Invalid

reaches = st.none() | st.sampled_from(Scope)
grants = st.lists(st.builds(Grant, st.sampled_from(sorted(KEYS)), reaches, reaches), max_size=8).map(
    Grants.of
)
permissions = st.sampled_from([f"{key}.{what}" for key in KEYS for what in ("read", "write")])


def _rank(held: Grants, permission: str) -> int:
    reach = held.reach(permission)
    return -1 if reach is None else reach.rank


def _more(one: Grants, other: Grants) -> bool:
    """Whether `one` reaches further than `other` in anything."""
    every = [f"{key}.{what}" for key in KEYS for what in ("read", "write")]
    return any(_rank(one, permission) > _rank(other, permission) for permission in every)


def _passes(check: Callable[[Grants, Grants], None], held: Grants, asked: Grants) -> bool:
    try:
        check(held, asked)
    except Forbidden:
        return False
    return True


@given(held=grants, asked=grants)
def test_exactly_what_one_holds_may_be_granted(held: Grants, asked: Grants) -> None:
    assert _passes(require_grantable, held, asked) is not _more(asked, held)
    assert _passes(require_not_above, held, asked) is not _more(asked, held)


@given(held=grants, first=grants, second=grants)
def test_what_may_be_granted_bit_by_bit_may_be_granted_at_once_and_adds_up_to_no_more(
    held: Grants, first: Grants, second: Grants
) -> None:
    joined = Grants.of([*first.by_key.values(), *second.by_key.values()])
    bit_by_bit = _passes(require_grantable, held, first) and _passes(require_grantable, held, second)
    assert bit_by_bit is _passes(require_grantable, held, joined)


@given(first=grants, second=grants, third=grants)
def test_a_chain_of_grants_ends_with_nothing_that_its_head_did_not_hold(
    first: Grants, second: Grants, third: Grants
) -> None:
    if _passes(require_grantable, first, second) and _passes(require_grantable, second, third):
        require_grantable(first, third)


@given(held=grants, permission=permissions)
def test_one_permission_more_is_refused(held: Grants, permission: str) -> None:
    key, _, what = permission.rpartition(".")
    reach = held.reach(permission)
    if reach is Scope.ALL:
        return
    wider = Scope.SELF if reach is None else (Scope.GROUP if reach is Scope.SELF else Scope.ALL)
    more = Grant(key, write=wider) if what == "write" else Grant(key, read=wider)
    with pytest.raises(BeyondOwnGrants, match="You cannot grant what you do not hold"):
        require_grantable(held, Grants.of([more]))
    with pytest.raises(AboveOwnGrants):
        require_not_above(held, Grants.of([*held.by_key.values(), more]))


GROUPES, OWNERS = ("A", "B", "elsewhere"), ("1", "2", "somebody else")
few_grants = st.lists(st.builds(Grant, st.sampled_from(["fiches", "audits"]), reaches, reaches), max_size=3)
every_reach = st.builds(
    Reach,
    few_grants.map(Grants.of),
    st.frozensets(st.sampled_from(GROUPES[:2])),
    st.none() | st.sampled_from(OWNERS[:2]),
)


def _sees(reach: Reach, permission: str, groupe: str, owner: str) -> bool:
    match reach.grants.reach(permission):
        case None:
            return False
        case Scope.ALL:
            return True
        case Scope.GROUP:
            return groupe in reach.groupes
        case Scope.SELF:
            return owner == reach.crm_user_id


def _gains(caller: Reach, target: Reach) -> bool:
    """Whether the caller, acting as the target, may do anything with any fiche that they may not do themselves."""
    every = [f"{key}.{what}" for key in KEYS for what in ("read", "write")]
    return any(
        _sees(target, permission, groupe, owner) and not _sees(caller, permission, groupe, owner)
        for permission in every
        for groupe in GROUPES
        for owner in OWNERS
    )


@given(caller=every_reach, target=every_reach)
def test_an_account_is_taken_over_only_by_who_gains_nothing_by_it(caller: Reach, target: Reach) -> None:
    try:
        require_no_further(caller, target)
    except BeyondOwnReach:
        assert _gains(caller, target) or _more(target.grants, caller.grants)
    else:
        assert not _gains(caller, target)
        assert not _more(target.grants, caller.grants)


@given(reach=every_reach)
def test_everybody_may_set_their_own_password(reach: Reach) -> None:
    require_no_further(reach, reach)


@given(asked=grants)
def test_whoever_holds_everything_may_grant_anything(asked: Grants) -> None:
    require_grantable(EVERYTHING, asked)
    require_not_above(EVERYTHING, asked)


@pytest.mark.parametrize("scope", [Scope.SELF, Scope.GROUP])
def test_what_belongs_to_no_team_needs_a_permission_over_everything(scope: Scope) -> None:
    require_everywhere(Actor("user:1", Scope.ALL))
    with pytest.raises(Forbidden, match=r"^Forbidden$"):
        require_everywhere(Actor("user:1", scope))


def test_nobody_changes_their_own_roles_or_status() -> None:
    require_somebody_else(Actor("user:1", Scope.ALL, user_id=1), 2)
    require_somebody_else(Actor("token:abc", Scope.ALL), 1)
    with pytest.raises(OwnAccount):
        require_somebody_else(Actor("user:1", Scope.ALL, user_id=1), 1)


@pytest.mark.parametrize("key", sorted(PROTECTED))
def test_roles_of_the_product_stay_as_they_are(key: str) -> None:
    with pytest.raises(Invalid, match="Cannot delete protected role"):
        require_unprotected(key, "delete")
    with pytest.raises(Invalid, match="Cannot edit protected role"):
        require_unprotected(key, "edit")
    require_unprotected("quality", "edit")
