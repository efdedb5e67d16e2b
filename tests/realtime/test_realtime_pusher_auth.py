"""`POST /api/realtime/pusher/auth` and `/test`: the contract's answers, and who may subscribe to what."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from conforme.accounts.grants import EVERYTHING, Grants, Scope
from conforme.app import Role, build
from conforme.foundation.database import Database
from conforme.sandbox.pusher import PusherDesk, PusherKeys
from conforme.sandbox.weather import FaultPlan
from conforme.settings import Settings, settings_with
from people import SignedIn, granting, signed_in
from product_fixtures import API_TOKEN, SETTINGS

AUTH = "/api/realtime/pusher/auth"
TEST = "/api/realtime/pusher/test"
CONFIGURED = settings_with(
    SETTINGS,
    {
        "PUSHER_APP_ID": "3",
        "PUSHER_KEY": "k",
        "PUSHER_SECRET": "s",
        "PUSHER_CLUSTER": "eu",
        "PUSHER_DRY_RUN": "1",
    },
)
TOKEN = {"Authorization": f"Bearer {API_TOKEN}"}


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://conforme.test")


@pytest.fixture(scope="module")
async def pusher_app(database_url: str) -> AsyncGenerator[FastAPI]:
    app = build(CONFIGURED, database_url, Role.API)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def web(pusher_app: FastAPI, database: Database) -> AsyncGenerator[httpx2.AsyncClient]:
    async with client_of(pusher_app) as client:
        yield client


@pytest.fixture
async def admin(database: Database) -> SignedIn:
    return await signed_in(database, CONFIGURED, EVERYTHING)


def asking(channel: Any = "private-audit-1", socket: Any = "123.456", **beside: Any) -> dict[str, Any]:
    return {"socket_id": socket, "channel_name": channel, **beside}


async def auth(
    web: httpx2.AsyncClient, who: SignedIn, channel: str, **beside: Any
) -> tuple[int, dict[str, Any]]:
    answer = await web.post(AUTH, json=asking(channel, **beside), headers=dict(who.headers))
    return answer.status_code, answer.json()


# Pinned by the contract (spec/realtime §2.3)


async def test_whoever_may_do_everything_subscribes_to_an_audit(
    web: httpx2.AsyncClient, admin: SignedIn
) -> None:
    status, body = await auth(web, admin, "private-audit-audit-123")
    assert status == 200
    assert set(body) == {"auth"}
    assert body["auth"].startswith("k:")


async def test_a_name_with_other_characters_is_invalid(web: httpx2.AsyncClient, admin: SignedIn) -> None:
    status, body = await auth(web, admin, "private-audit-bad:chars")
    assert (status, body["success"], body["code"]) == (400, False, "VALIDATION_ERROR")
    assert body["error"] == "channel_name contains invalid characters"


async def test_a_name_that_is_not_listed_is_not_allowed(web: httpx2.AsyncClient, admin: SignedIn) -> None:
    status, body = await auth(web, admin, "private-admin-123")
    assert (status, body["success"], body["error"]) == (403, False, "Channel not allowed")
    assert body["code"] == "AUTHORIZATION_ERROR"


async def test_a_test_event_is_echoed(web: httpx2.AsyncClient, admin: SignedIn) -> None:
    given = {"channel": "realtime-test", "event": "realtime.test", "payload": {"ok": True}}
    answer = await web.post(TEST, json=given, headers=dict(admin.headers))
    assert (answer.status_code, answer.json()) == (200, {"success": True, **given})


# Signatures


async def test_the_vector_of_the_contract_comes_out_over_json_and_over_a_form(
    web: httpx2.AsyncClient, admin: SignedIn
) -> None:
    expected = {"auth": "k:da6413779a63a60975b497a37f73c945ef1e85d91fd84d23c4e3fdb4289c13b3"}
    assert await auth(web, admin, "private-audit-1") == (200, expected)
    form = await web.post(AUTH, data=asking(), headers=dict(admin.headers))
    assert (form.status_code, form.json()) == (200, expected)


@pytest.mark.parametrize("form", [False, True])
async def test_a_presence_channel_names_who_joins_by_what_we_know(
    web: httpx2.AsyncClient, admin: SignedIn, form: bool
) -> None:
    assert admin.caller.person is not None
    info = {"n": 1, "email": "forged@example.test", "roles": ["forged"]}
    given = asking("presence-global", user_id="forged", user_info=json.dumps(info) if form else info)
    body: dict[str, Any] = {"data": given} if form else {"json": given}
    answer = (await web.post(AUTH, headers=dict(admin.headers), **body)).json()
    person = admin.caller.person
    assert json.loads(answer["channel_data"]) == {
        "user_id": str(person.id),
        "user_info": {"n": 1, "email": person.email, "roles": list(person.roles)},
    }
    assert answer["auth"].startswith("k:")
    assert set(answer) == {"auth", "channel_data"}


# Refusals, in the order of the contract


async def test_tokens_are_no_people(web: httpx2.AsyncClient) -> None:
    answer = await web.post(AUTH, json={}, headers=TOKEN)
    assert (answer.status_code, answer.json()["error"]) == (401, "User authentication required")
    assert (await web.post(AUTH, json=asking())).status_code == 401


async def test_without_the_permission_nobody_subscribes(web: httpx2.AsyncClient, database: Database) -> None:
    reader = await signed_in(database, CONFIGURED, granting(["audits", "fiches"], Scope.ALL))
    status, body = await auth(web, reader, "private-audit-1")
    assert (status, body["code"]) == (403, "AUTHORIZATION_ERROR")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"socket_id": "1.2"},
        {"channel_name": "private-audit-1"},
        asking(" "),
        asking(7),
        asking(socket=""),
        asking(socket="abc"),
        asking(socket="1.2\n"),
        asking(socket="123"),
        asking(user_info=[1]),
        asking("private-audit-\0"),
        [],
    ],
)
async def test_a_body_that_does_not_fit_is_told_which_field(
    web: httpx2.AsyncClient, admin: SignedIn, body: Any
) -> None:
    answer = await web.post(AUTH, json=body, headers=dict(admin.headers))
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert answer.json()["details"][0]["field"]


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("private-audit-" + "x" * 200, "channel_name too long (max 200 chars)"),
        ("private audit", "channel_name contains invalid characters"),
        ("pusher-x", "channel_name cannot start with 'pusher-'"),
    ],
)
async def test_a_malformed_channel_is_told_how(
    web: httpx2.AsyncClient, admin: SignedIn, channel: str, message: str
) -> None:
    status, body = await auth(web, admin, channel)
    assert (status, body["error"], body["code"]) == (400, message, "VALIDATION_ERROR")


@pytest.mark.parametrize("content", [b"socket_id=%FF", b"user_info={", b"&".join([b"a=1"] * 30)])
async def test_a_form_that_cannot_be_read_is_refused(
    web: httpx2.AsyncClient, admin: SignedIn, content: bytes
) -> None:
    headers = {**admin.headers, "content-type": "application/x-www-form-urlencoded"}
    answer = await web.post(AUTH, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("form", [False, True])
async def test_a_body_that_is_too_large_is_refused(
    web: httpx2.AsyncClient, admin: SignedIn, form: bool
) -> None:
    given = asking(user_info=json.dumps({"x": "y" * 20_000}) if form else {"x": "y" * 20_000})
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    content = urlencode(given) if form else json.dumps(given)
    answer = await web.post(AUTH, content=content, headers={**admin.headers, "content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_unconfigured_is_said_after_the_name_was_looked_at(
    api: httpx2.AsyncClient, database: Database
) -> None:
    admin = await signed_in(database, SETTINGS, EVERYTHING)
    assert (await auth(api, admin, "private-admin-1"))[0] == 403
    status, body = await auth(api, admin, "private-audit-1")
    assert (status, body["error"], body["code"]) == (503, "Pusher not configured", "PUSHER_NOT_CONFIGURED")
    answer = await api.post(TEST, json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "PUSHER_NOT_CONFIGURED")


# Who may listen where


async def _statuses(
    web: httpx2.AsyncClient, who: SignedIn, channels: Mapping[str, int]
) -> tuple[Mapping[str, int], set[str]]:
    answers = {channel: await auth(web, who, channel) for channel in channels}
    errors = {body["error"] for status, body in answers.values() if status != 200}
    return {channel: status for channel, (status, _) in answers.items()}, errors


async def test_channels_that_are_about_no_fiche(web: httpx2.AsyncClient, database: Database) -> None:
    grants = Grants.of([*granting(["realtime"], Scope.SELF).by_key.values()])
    person = await signed_in(database, CONFIGURED, grants)
    expected = {
        f"private-user-{person.id}": 200,
        f"private-user-{person.id + 1}": 403,
        f"private-user-0{person.id}": 403,
        "presence-global": 200,
        "presence-org-1": 403,
        "private-org-1": 403,
        "private-tenant-1": 403,
        "private-realtime-test": 403,
        "presence-realtime-test": 403,
        "private-audit-1": 403,
    }
    assert await _statuses(web, person, expected) == (expected, {"Forbidden"})


async def test_those_who_may_test_hear_what_they_publish(web: httpx2.AsyncClient, admin: SignedIn) -> None:
    expected = {
        "private-realtime-test": 200,
        "presence-realtime-test": 200,
        "presence-org-1": 200,
        "private-tenant-1": 403,
        "private-fiche-4100123": 200,
        "private-fiche-abc": 403,
        "private-job-automation-run-1": 200,
        "private-global": 200,
    }
    assert await _statuses(web, admin, expected) == (expected, {"Forbidden"})


async def test_scope_is_enforced_in_tests_as_well(web: httpx2.AsyncClient, database: Database) -> None:
    """The suite runs with NODE_ENV=test, where the reference looked at no scope."""
    assert CONFIGURED.node_env == "test"
    mine = await signed_in(
        database, CONFIGURED, granting(["realtime", "audits", "fiches"], Scope.SELF), crm_user_id="7"
    )
    for channel in ("private-fiche-4100123", "private-audit-1", "private-audit-audit-4100123-2-1"):
        assert await auth(web, mine, channel) == (
            403,
            {"success": False, "error": "Forbidden", "code": "AUTHORIZATION_ERROR"},
        )


async def test_when_it_cannot_be_found_out_it_is_not_available(
    web: httpx2.AsyncClient, admin: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise OperationalError("select", {}, Exception())

    monkeypatch.setattr("conforme.realtime.channels.authorise", broken)
    status, body = await auth(web, admin, "private-audit-1")
    assert (status, body["error"], body["code"]) == (503, "Realtime not available", "SERVICE_UNAVAILABLE")


# The test route


async def test_what_is_not_given_has_defaults(web: httpx2.AsyncClient) -> None:
    body = (await web.post(TEST, json={"payload": None}, headers=TOKEN)).json()
    assert (body["channel"], body["event"]) == ("private-realtime-test", "realtime.test")
    assert body["payload"]["message"] == "hello from backend"
    assert set(body["payload"]) == {"message", "ts"}


@pytest.mark.parametrize(
    "grants", [granting(["realtime"], Scope.ALL), granting(["realtime"], Scope.GROUP, write=True)]
)
async def test_only_who_may_write_everywhere_may_test(
    web: httpx2.AsyncClient, database: Database, grants: Grants
) -> None:
    person = await signed_in(database, CONFIGURED, grants)
    answer = await web.post(TEST, json={}, headers=dict(person.headers))
    assert (answer.status_code, answer.json()["code"]) == (403, "AUTHORIZATION_ERROR")


@pytest.mark.parametrize(
    "channel", ["private-audit-1", "private-global", "private-user-1", "presence-global"]
)
async def test_no_event_is_forged_on_a_channel_that_matters(web: httpx2.AsyncClient, channel: str) -> None:
    answer = await web.post(TEST, json={"channel": channel, "event": "audit.completed"}, headers=TOKEN)
    assert (answer.status_code, answer.json()["code"]) == (403, "AUTHORIZATION_ERROR")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"event": ""}, "event is required"),
        ({"event": "e" * 201}, "event too long (max 200 chars)"),
        ({"event": "pusher:x"}, "event name cannot start with 'pusher:'"),
        ({"channel": "a:b"}, "channel_name contains invalid characters"),
    ],
)
async def test_bad_names_are_told(web: httpx2.AsyncClient, body: dict[str, Any], message: str) -> None:
    answer = await web.post(TEST, json=body, headers=TOKEN)
    assert (answer.status_code, answer.json()["error"]) == (400, message)


async def test_it_really_publishes_and_says_when_it_could_not(database_url: str, database: Database) -> None:
    desk, keys = PusherDesk(), PusherKeys()
    async with desk.service() as service:
        settings: Settings = settings_with(
            SETTINGS,
            {"PUSHER_APP_ID": keys.app_id, "PUSHER_KEY": keys.key, "PUSHER_HOST": service.url},
        ).model_copy(update={"pusher_secret": SecretStr(keys.secret), "pusher_use_private_channels": False})
        app = build(settings, database_url, Role.API)
        async with app.router.lifespan_context(app), client_of(app) as web:
            done = await web.post(TEST, json={"payload": ["x"]}, headers=TOKEN)
            service.faults = FaultPlan(down=True)
            failed = await web.post(TEST, json={}, headers=TOKEN)
    assert (done.status_code, done.json()["payload"]) == (200, ["x"])
    (event,) = desk.events
    assert (event.name, event.channels, event.data) == (
        "realtime.test",
        ("realtime-test",),
        '{"value":["x"]}',
    )
    assert (failed.status_code, failed.json()["code"]) == (502, "EXTERNAL_API_ERROR")
