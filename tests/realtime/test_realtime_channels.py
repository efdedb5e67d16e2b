"""Who may listen to what, and for how long: asked of the table of channels and of real streams."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, insert, select, text, update

from audit_rows import audit, configured, fiche
from conforme.accounts import account_changes
from conforme.accounts.actor import Caller
from conforme.accounts.grants import KEYS, Grants, Scope
from conforme.accounts.models import ApiToken, Session, Team, User, UserRole, UserTeam
from conforme.accounts.secrets import token_hash
from conforme.app import Role
from conforme.foundation import events
from conforme.foundation.database import Database, WriteSession, now
from conforme.foundation.errors import Forbidden
from conforme.process import Served, http_server
from conforme.realtime.channels import authorise
from conforme.settings import Settings
from people import SignedIn, everything_within, granting, signed_in
from product_fixtures import API_TOKEN, SETTINGS

PATIENCE = 15.0
MINE, THEIRS, ABSENT = "900001", "900002", "900003"


@pytest.fixture(autouse=True)
def nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifications alone wake the follower: the poll would hide one that is lost."""
    monkeypatch.setattr("conforme.realtime.hub.POLL_SECONDS", 3600.0)


@pytest.fixture
async def audits(database: Database, api_app: FastAPI) -> Mapping[str, tuple[str, str]]:
    """The tracking id and the database id of an audit of each fiche; the rooms are connected by the application."""
    pinned = await configured(database)
    ids: dict[str, tuple[str, str]] = {}
    async with database.write() as session:
        for number, (fiche_id, groupe, user) in enumerate(
            ((MINE, "EQUIPE R1", "211"), (THEIRS, "EQUIPE R2", "212"))
        ):
            cache_id = await fiche(session, fiche_id, groupe)
            await session.execute(
                text("update fiche_cache set attribution_user_id = :user where id = :id"),
                {"user": user, "id": cache_id},
            )
            tracking_id = f"audit-{fiche_id}-1-{number}"
            audit_id = await audit(
                session, pinned, number, fiche_id=fiche_id, fiche_cache_id=cache_id, tracking_id=tracking_id
            )
            ids[fiche_id] = tracking_id, str(audit_id)
    return ids


def calling(grants: Grants, user_id: int | None = None) -> Caller:
    return Caller("user:1", grants, frozenset({"EQUIPE R1"}), crm_user_id="211", user_id=user_id)


async def passes(database: Database, caller: Caller, *channels: str) -> bool:
    async with database.read() as session:
        try:
            await authorise(session, caller, channels)
        except Forbidden:
            return False
    return True


@pytest.mark.attack("channel of others")
@pytest.mark.parametrize("scope", [Scope.GROUP, Scope.SELF])
async def test_who_sees_some_fiches_listens_to_those_and_to_no_other(
    database: Database, audits: Mapping[str, tuple[str, str]], scope: Scope
) -> None:
    caller = calling(everything_within(scope))
    mine = [f"private-fiche-{MINE}", *(f"private-audit-{each}" for each in audits[MINE])]
    assert await passes(database, caller, *mine, "private-global")
    for channel in (
        f"private-fiche-{THEIRS}",
        f"private-fiche-{ABSENT}",
        *(f"private-audit-{each}" for each in audits[THEIRS]),
        "private-audit-999999",
        f"private-audit-audit-{ABSENT}-1-1",
        f"private-audit-audit-{MINE}-1-999",  # a name that says a fiche of theirs is no proof
        f"private-audit-0{audits[MINE][1]}",
        "private-audit-99999999999999999999999",
        "private-job-automation-run-1",
    ):
        assert not await passes(database, caller, channel), channel
        assert not await passes(database, caller, *mine, channel), channel


async def test_who_sees_everything_listens_to_what_does_not_exist_yet(
    database: Database, audits: Mapping[str, tuple[str, str]]
) -> None:
    caller = calling(everything_within(Scope.ALL))
    channels = (f"private-fiche-{ABSENT}", "private-audit-999999", "private-job-batch-1-2", "private-global")
    assert await passes(database, caller, *channels)
    assert not await passes(database, caller, "private-fiche-12a")


@pytest.mark.parametrize(
    ("channel", "enough"),
    [
        (f"private-fiche-{MINE}", {"fiches"}),
        (f"private-audit-audit-{MINE}-1-0", {"audits"}),
        ("private-job-1", {"automation", "audits", "fiches"}),
        ("private-global", set(KEYS)),
    ],
)
async def test_each_kind_of_channel_asks_for_its_own_permission(
    database: Database, audits: Mapping[str, tuple[str, str]], channel: str, enough: set[str]
) -> None:
    admitted = {key for key in KEYS if await passes(database, calling(granting([key], Scope.ALL)), channel)}
    assert admitted == enough


@pytest.mark.attack("channel of others")
async def test_a_channel_of_a_person_is_for_that_person_alone(database: Database, api_app: FastAPI) -> None:
    everything = everything_within(Scope.ALL)
    one = await signed_in(database, SETTINGS, everything)
    other = await signed_in(database, SETTINGS, everything)
    assert await passes(database, one.caller, f"private-user-{one.id}")
    assert not await passes(database, one.caller, f"private-user-{other.id}")
    assert not await passes(database, one.caller, f"private-user-{one.id}", f"private-user-{other.id}")
    assert not await passes(database, calling(everything, user_id=one.id), f"private-user-{one.id}")


@pytest.mark.attack("channel of others")
@pytest.mark.parametrize("name", ["private-admin-1", "presence-org-1", "public-audit-1", "private-user-"])
async def test_what_is_in_no_table_is_no_channel(
    api: httpx2.AsyncClient, database: Database, name: str
) -> None:
    answer = await api.get(f"/api/realtime/stream?channels=private-global,{name}")
    assert (answer.status_code, answer.json()["error"]) == (403, "Channel not allowed")


@pytest.mark.attack("channel of others")
async def test_a_stream_of_a_foreign_channel_is_refused_like_one_of_none(
    api: httpx2.AsyncClient, database: Database, audits: Mapping[str, tuple[str, str]]
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    answers: set[tuple[int, str]] = set()
    for channel in (f"fiche-{THEIRS}", f"fiche-{ABSENT}", f"audit-{audits[THEIRS][1]}", "audit-999", "job-1"):
        path = f"/api/realtime/stream?channels=private-global,private-{channel}"
        answer = await api.get(path, headers=person.headers)
        answers.add((answer.status_code, answer.text))
    assert answers == {(403, '{"success":false,"error":"Forbidden","code":"AUTHORIZATION_ERROR"}')}


# Streams that are open


@asynccontextmanager
async def replica(url: str, recheck: float = 600.0) -> AsyncGenerator[Served]:
    settings = Settings(
        api_auth_token=SETTINGS.api_auth_token,
        jwt_access_secret=SETTINGS.jwt_access_secret,
        port=0,
        drain_seconds=1,
        stream_recheck_seconds=recheck,
    )
    async with http_server(settings, url, Role.API) as served:
        yield served


@pytest.fixture(scope="module")
async def served(database_url: str) -> AsyncGenerator[Served]:
    """A replica that does not look again by itself before the test has ended."""
    async with replica(database_url) as served:
        yield served


@pytest.fixture(scope="module")
async def watchful(database_url: str) -> AsyncGenerator[Served]:
    """A replica that looks again all the time."""
    async with replica(database_url, recheck=0.02) as served:
        yield served


@asynccontextmanager
async def listening(
    served: Served, headers: Mapping[str, str], *channels: str, query: str = ""
) -> AsyncGenerator[AsyncIterator[str]]:
    path = f"/api/realtime/stream?channels={','.join(channels)}{query}"
    async with (
        httpx2.AsyncClient(base_url=served.url, headers=headers, trust_env=False, timeout=PATIENCE) as client,
        client.stream("GET", path) as answer,
    ):
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        yield lines


async def tell(database: Database, channel: str, number: int) -> None:
    async with database.write() as session:
        await events.record(session, "audit.progress", {"number": number}, [channel])


async def until_its_end(lines: AsyncIterator[str]) -> list[str]:
    """The names of the events that come before the stream ends by itself."""
    async with asyncio.timeout(PATIENCE):
        return [line.removeprefix("event: ") async for line in lines if line.startswith("event: ")]


async def next_event(lines: AsyncIterator[str]) -> str:
    async with asyncio.timeout(PATIENCE):
        async for line in lines:
            if line.startswith("event: "):
                return line.removeprefix("event: ")
    raise AssertionError("the stream ended")


Change = Callable[[WriteSession, SignedIn], Awaitable[None]]


async def _disabled(session: WriteSession, person: SignedIn) -> None:
    await session.execute(update(User).where(User.id == person.id).values(status="DISABLED"))
    await account_changes.tell(session, [person.id])


async def _signed_out(session: WriteSession, person: SignedIn) -> None:
    await session.execute(update(Session).where(Session.user_id == person.id).values(ended_at=now()))
    await account_changes.tell(session, [person.id, person.id])


async def _role_taken(session: WriteSession, person: SignedIn) -> None:
    roles = await session.scalars(select(UserRole.role_id).where(UserRole.user_id == person.id))
    for role_id in list(roles):
        await account_changes.tell_holders(session, role_id)
    await session.execute(delete(UserRole).where(UserRole.user_id == person.id))


async def _team_deleted(session: WriteSession, person: SignedIn) -> None:
    [team_id] = await session.scalars(select(UserTeam.team_id).where(UserTeam.user_id == person.id))
    await account_changes.tell_members(session, team_id)
    await session.execute(delete(UserTeam).where(UserTeam.team_id == team_id))
    await session.execute(delete(Team).where(Team.id == team_id))


@pytest.mark.parametrize("change", [_disabled, _signed_out, _role_taken, _team_deleted])
async def test_a_stream_ends_when_its_persons_rights_change_and_is_judged_anew(
    served: Served, database: Database, audits: Mapping[str, tuple[str, str]], change: Change
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    channel = f"private-fiche-{MINE}"
    async with (
        listening(served, person.headers, channel) as lines,
        listening(served, {"Authorization": f"Bearer {API_TOKEN}"}, channel) as others,
    ):
        await tell(database, channel, 1)
        assert await next_event(lines) == "audit.progress"
        async with database.write() as session:
            await change(session, person)
        assert await until_its_end(lines) == []
        await tell(database, channel, 2)
        assert [await next_event(others), await next_event(others)] == ["audit.progress", "audit.progress"]
    async with httpx2.AsyncClient(base_url=served.url, headers=person.headers, trust_env=False) as client:
        again = await client.get(f"/api/realtime/stream?channels={channel}")
    assert again.status_code in {401, 403}


async def test_whoever_listens_to_their_own_account_hears_why_the_stream_ends(
    served: Served, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
    own = f"private-user-{person.id}"
    async with listening(served, person.headers, own) as lines:
        async with database.write() as session:
            await account_changes.tell(session, [person.id])
        assert await until_its_end(lines) == ["account.changed"]
    async with listening(served, person.headers, own, query="&after=0") as lines:
        assert await next_event(lines) == "account.changed"  # what is over does not end it again
        await tell(database, own, 1)
        assert await next_event(lines) == "audit.progress"


async def test_what_is_told_to_a_person_is_sent_to_who_asked_for_it_alone(
    served: Served, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
    async with listening(served, person.headers, "private-global") as lines:
        await tell(database, f"private-user-{person.id}", 1)
        async with database.write() as session:
            await events.record(session, "audit.failed", {}, ["private-global"])
        assert await next_event(lines) == "audit.failed"


async def _fiche_moved(session: WriteSession) -> None:
    await session.execute(text("update fiche_cache set groupe = 'EQUIPE R9'"))


async def _token_revoked(session: WriteSession) -> None:
    await session.execute(update(ApiToken).values(revoked_at=now()))


@pytest.mark.parametrize("change", [_fiche_moved, _token_revoked])
async def test_what_nobody_tells_of_ends_a_stream_at_the_next_look(
    watchful: Served,
    database: Database,
    audits: Mapping[str, tuple[str, str]],
    change: Callable[[WriteSession], Awaitable[None]],
) -> None:
    token = "cfm_a-token-of-the-house"
    async with database.write() as session:
        await session.execute(insert(ApiToken).values(_token(token, groupes=["EQUIPE R1"])))
    headers = {"Authorization": f"Bearer {token}"}
    async with listening(watchful, headers, f"private-audit-{audits[MINE][0]}") as lines:
        await tell(database, f"private-audit-{audits[MINE][0]}", 1)
        assert await next_event(lines) == "audit.progress"
        async with database.write() as session:
            await change(session)
        assert await until_its_end(lines) == []


def _token(token: str, *, groupes: Sequence[str]) -> Mapping[str, object]:
    grants = [{"key": key, "read": True, "write": False, "scope": "GROUP"} for key in ("realtime", "audits")]
    return {
        "name": "probe",
        "hint": token[:8],
        "token_hash": token_hash(token),
        "made_by": "test",
        "grants": grants,
        "groupes": list(groupes),
    }
