"""What grants add up to, for any of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.accounts.actor import Caller
from conforme.accounts.grants import EVERYTHING, KEYS, Grant, Grants, Need, Scope, split_suffix
from conforme.accounts.wire import grants_of_rows, grants_out
from conforme.foundation.errors import Forbidden

reach = st.none() | st.sampled_from(Scope)
grant = st.builds(Grant, st.sampled_from(list(KEYS)), reach, reach)
grants = st.lists(grant, max_size=12).map(Grants.of)
role_rows = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(list(KEYS)),
            "read": st.booleans(),
            "write": st.booleans(),
            "scope": st.sampled_from(list(Scope)),
        }
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("permission", "key", "write"),
    [
        ("audits.read", "audits", False),
        ("realtime.auth", "realtime", False),
        ("audits", "audits", False),
        ("audits.write", "audits", True),
        ("audits.run", "audits", True),
        ("audits.rerun", "audits", True),
        ("fiches.fetch", "fiches", True),
        ("chat.use", "chat", True),
        ("realtime.test", "realtime", True),
        ("audits.RUN", "audits", True),
        ("admin.users", "admin.users", False),
        ("admin.users.write", "admin.users", True),
        ("audit-configs.read", "audit-configs", False),
        ("audits.delete", "audits.delete", False),
    ],
)
def test_the_suffix_says_whether_a_permission_writes(permission: str, key: str, write: bool) -> None:
    assert Need.of(permission) == Need(key, write)


def test_a_key_without_suffix_leaves_open_whether_it_writes() -> None:
    assert split_suffix("admin.users") == ("admin.users", None)


@given(role_rows)
def test_the_widest_scope_among_roles_that_give_a_flag_wins(rows: list[dict[str, object]]) -> None:
    held = grants_of_rows(rows)
    for key in KEYS:
        for flag in ("read", "write"):
            scopes = [Scope(str(row["scope"])) for row in rows if row["key"] == key and row[flag]]
            widest = max(scopes, key=lambda scope: scope.rank, default=None)
            assert held.reach(f"{key}.{flag}") == widest


@given(grants, grants)
def test_joined_grants_cover_both_and_met_ones_are_covered_by_both(one: Grants, other: Grants) -> None:
    both = Grants.of([*one.by_key.values(), *other.by_key.values()])
    assert both.covers(one)
    assert both.covers(other)
    shared = one.met(other)
    assert one.covers(shared)
    assert other.covers(shared)
    assert shared == other.met(one)


@given(grants, grants)
def test_covering_means_that_no_permission_reaches_further(one: Grants, other: Grants) -> None:
    further = [
        permission
        for key in KEYS
        for permission in (f"{key}.read", f"{key}.write")
        if (asked := other.reach(permission)) is not None
        and ((held := one.reach(permission)) is None or held.rank < asked.rank)
    ]
    assert one.covers(other) is (not further)


@given(grants)
def test_everything_covers_anything_and_anything_covers_nothing(some: Grants) -> None:
    assert EVERYTHING.covers(some)
    assert some.covers(Grants.of([]))
    assert [row["key"] for row in grants_out(some)] == sorted(some.by_key)


@given(grants, st.lists(st.sampled_from([f"{key}.read" for key in KEYS]), max_size=3))
def test_an_actor_sees_as_far_as_the_narrowest_permission_they_act_under(
    held: Grants, permissions: list[str]
) -> None:
    caller = Caller("user:1", held, frozenset({"EQUIPE R1"}), "211", 1)
    reaches = [held.reach(permission) for permission in permissions]
    if None in reaches:
        with pytest.raises(Forbidden, match="Missing permission"):
            caller.acting(permissions)
        return
    actor = caller.acting(permissions)
    assert actor.scope == min(
        (reach for reach in reaches if reach is not None), key=lambda it: it.rank, default=Scope.SELF
    )
    assert (actor.groupes, actor.crm_user_id) == (caller.groupes, "211")
