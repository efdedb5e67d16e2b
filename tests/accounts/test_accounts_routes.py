"""Every route of the API's document, walked by strangers, by callers without the permission, and by those of each scope.

There is a fiche of the callers', a fiche of others, and one that does not exist. `ROUTES` says of each route what it
asks: a route that is not in it fails this test, and so does a line without a route.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from audit_rows import audit, configured, fiche, step
from conforme.accounts.actor import MISSING_PERMISSION
from conforme.accounts.grants import KEYS, Grant, Grants, Need, Scope
from conforme.app import build
from conforme.foundation.database import Database, now
from conforme.foundation.resources import Resources
from conforme.recordings.models import Recording
from people import SignedIn, everything_within, signed_in
from product_fixtures import PUSHER, SETTINGS

GROUPE, ADVISOR = "EQUIPE R1", "211"
OTHER_GROUPE, OTHER_ADVISOR = "EQUIPE R2", "212"
MINE, THEIRS, ABSENT = "900001", "900002", "900003"
SOLD_ON = "2026-01-05"
FILTERS = (
    f"groupe_query={OTHER_GROUPE}&groupes={OTHER_GROUPE}&fiche_ids={THEIRS}&user_id={OTHER_ADVISOR}&scope=ALL"
)
"""What a caller may try to widen a list with."""


@dataclass(frozen=True)
class Public:
    """Whoever calls is served."""


@dataclass(frozen=True)
class SignIn:
    """Whoever calls is heard, and refused for what they bring: no permission, and nothing of a fiche."""


@dataclass(frozen=True)
class Person:
    """Whoever is signed in, whatever they may do; tokens are no people."""


@dataclass(frozen=True)
class House:
    """Data of the house: these permissions, whatever their scope."""

    permissions: tuple[str, ...]


@dataclass(frozen=True)
class Ruled:
    """These permissions; beyond them, rules of their own say who sees and changes what (see the tests of that room)."""

    permissions: tuple[str, ...]


@dataclass(frozen=True)
class OfFiche:
    """One fiche, or something that hangs on it: these permissions, and the fiche within their scope."""

    permissions: tuple[str, ...]
    path: str = ""
    """How the fiche is named; as the route's own path where that says it."""
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    own: int = 200
    """The status for who may see the fiche."""


@dataclass(frozen=True)
class ListOfFiches:
    """A list of what hangs on fiches: these permissions, and only what is within their scope."""

    permissions: tuple[str, ...]
    path: str = ""
    """How the list is asked for; as the route's own path where that is all."""


Rule = Public | SignIn | Person | House | Ruled | OfFiche | ListOfFiches

PEOPLE_READ = Ruled(("admin.users.read",))
PEOPLE_WRITE = Ruled(("admin.users.write",))
ROLES_WRITE = Ruled(("admin.roles.write",))
SCHEDULES_READ = House(("automation.read",))
SCHEDULES_WRITE = Ruled(("automation.read", "automation.write"))
HOOKS_READ = Ruled(("fiches.read",))
HOOKS_WRITE = Ruled(("fiches.write",))
CONFIGS_READ = House(("audit-configs.read",))
CONFIGS_WRITE = House(("audit-configs.read", "audit-configs.write"))
RUN = {"fiche_id": "{fiche_id}", "audit_config_id": "{config_id}"}

POINT = "/api/audits/{audit_id}/steps/{step_position}/control-points/{control_point_index}"

ROUTES: Mapping[str, Rule] = {
    "GET /api/recordings/{fiche_id}/{call_id}/speakers": OfFiche(("transcriptions.read",)),
    "PATCH /api/recordings/{fiche_id}/{call_id}/speakers": OfFiche(
        ("transcriptions.read", "audits.write"),
        body={"speakers": [{"speaker": "speaker_0", "role": "client"}]},
        own=400,  # nobody is told apart in the recording of this ground
    ),
    "GET /health": Public(),
    "GET /health/ready": Public(),
    "POST /api/auth/login": SignIn(),
    "POST /api/auth/refresh": SignIn(),
    "POST /api/auth/logout": SignIn(),
    "POST /api/auth/invite/accept": SignIn(),
    "GET /api/auth/me": SignIn(),
    "POST /api/auth/password": Person(),
    "POST /api/auth/logout-everywhere": Person(),
    "GET /api/admin/users": PEOPLE_READ,
    "POST /api/admin/users": PEOPLE_WRITE,
    "PATCH /api/admin/users/{user_id}": PEOPLE_WRITE,
    "DELETE /api/admin/users/{user_id}": PEOPLE_WRITE,
    "POST /api/admin/users/{user_id}/invite": PEOPLE_WRITE,
    "POST /api/admin/users/{user_id}/logout": PEOPLE_WRITE,
    "POST /api/admin/users/from-crm": PEOPLE_WRITE,
    "GET /api/admin/roles": House(("admin.roles.read",)),
    "POST /api/admin/roles": ROLES_WRITE,
    "GET /api/admin/roles/{role_id}": House(("admin.roles.read",)),
    "PATCH /api/admin/roles/{role_id}": ROLES_WRITE,
    "DELETE /api/admin/roles/{role_id}": ROLES_WRITE,
    "GET /api/admin/permissions": House(("admin.permissions.read",)),
    "GET /api/admin/audit-log": PEOPLE_READ,
    "GET /api/admin/crm/users": PEOPLE_READ,
    "GET /api/admin/crm/teams": PEOPLE_READ,
    "POST /api/admin/teams/sync-from-crm": PEOPLE_WRITE,
    "GET /api/admin/teams": PEOPLE_READ,
    "POST /api/admin/teams": PEOPLE_WRITE,
    "PATCH /api/admin/teams/{team_id}": PEOPLE_WRITE,
    "DELETE /api/admin/teams/{team_id}": PEOPLE_WRITE,
    "POST /api/admin/teams/{team_id}/members": PEOPLE_WRITE,
    "DELETE /api/admin/teams/{team_id}/members/{user_id}": PEOPLE_WRITE,
    "GET /api/admin/api-tokens": PEOPLE_READ,
    "POST /api/admin/api-tokens": PEOPLE_WRITE,
    "POST /api/admin/api-tokens/{token_id}/rotate": PEOPLE_WRITE,
    "DELETE /api/admin/api-tokens/{token_id}": PEOPLE_WRITE,
    "GET /api/fiches/webhooks/fiches": Ruled(("fiches.read",)),
    "GET /api/fiches/jobs": Ruled(("fiches.read",)),
    "GET /api/fiches/jobs/{job_id}": Ruled(("fiches.read",)),
    "GET /api/fiches/{fiche_id}": OfFiche(("fiches.read",)),
    "GET /api/fiches/{fiche_id}/cache": OfFiche(("fiches.read",)),
    "GET /api/fiches/{fiche_id}/status": OfFiche(("fiches.read",)),
    "GET /api/fiches/search": Ruled(("fiches.read",)),
    "POST /api/fiches/status/batch": Ruled(("fiches.read",)),
    "GET /api/fiches/status/by-date": ListOfFiches(
        ("fiches.read",), path=f"/api/fiches/status/by-date?date={SOLD_ON}"
    ),
    "GET /api/fiches/status/by-date-range": ListOfFiches(
        ("fiches.read",), path=f"/api/fiches/status/by-date-range?startDate={SOLD_ON}&endDate={SOLD_ON}"
    ),
    "GET /api/recordings/{fiche_id}": OfFiche(("recordings.read",)),
    "POST /api/transcriptions/batch": OfFiche(("transcriptions.write",), body={"fiche_ids": ["{fiche_id}"]}),
    "POST /api/transcriptions/{fiche_id}": OfFiche(("transcriptions.write",)),
    "GET /api/transcriptions/{fiche_id}/status": OfFiche(("transcriptions.read",)),
    "GET /api/transcriptions/{fiche_id}/logs": OfFiche(("transcriptions.read",)),
    "GET /api/transcriptions/{fiche_id}/recordings/{call_id}": OfFiche(("transcriptions.read",)),
    "GET /api/audit-configs": CONFIGS_READ,
    "POST /api/audit-configs": CONFIGS_WRITE,
    "GET /api/audit-configs/{config_id}": CONFIGS_READ,
    "PUT /api/audit-configs/{config_id}": CONFIGS_WRITE,
    "DELETE /api/audit-configs/{config_id}": CONFIGS_WRITE,
    "GET /api/audit-configs/{config_id}/validate": CONFIGS_READ,
    "GET /api/audit-configs/{config_id}/revisions": CONFIGS_READ,
    "POST /api/audit-configs/{config_id}/revisions": CONFIGS_WRITE,
    "GET /api/audit-configs/{config_id}/revisions/diff": CONFIGS_READ,
    "GET /api/audit-configs/{config_id}/revisions/{number}": CONFIGS_READ,
    "GET /api/audit-configs/{config_id}/stats": CONFIGS_READ,
    "POST /api/audit-configs/{config_id}/steps": CONFIGS_WRITE,
    "PUT /api/audit-configs/{config_id}/steps/reorder": CONFIGS_WRITE,
    "PUT /api/audit-configs/steps/{step_id}": CONFIGS_WRITE,
    "DELETE /api/audit-configs/steps/{step_id}": CONFIGS_WRITE,
    "POST /api/audits/run": OfFiche(("audits.run",), body=RUN),
    "POST /api/audits": OfFiche(("audits.run",), body=RUN | {"trigger_source": "api"}),
    "POST /api/audits/run-latest": OfFiche(("audits.run",), body={"fiche_id": "{fiche_id}"}),
    "POST /api/audits/{audit_id}/resume": OfFiche(("audits.run",), own=409),
    "POST /api/audits/batch": OfFiche(
        ("audits.run",), body={"fiche_ids": ["{fiche_id}"], "audit_config_id": "{config_id}"}
    ),
    "GET /api/audits/batch": Ruled(("audits.read",)),
    "GET /api/audits/batch/{batch_id}": Ruled(("audits.read",)),
    "GET /api/audits/batch/{batch_id}/items": Ruled(("audits.read",)),
    "POST /api/audits/batch/{batch_id}/cancel": Ruled(("audits.run",)),
    "POST /api/audits/batch/{batch_id}/resume": Ruled(("audits.run",)),
    "GET /api/automation/runs": House(("automation.read",)),
    "GET /api/automation/schedules/{schedule_id}/runs": House(("automation.read",)),
    "GET /api/automation/runs/{run_id}": Ruled(("automation.read",)),
    "GET /api/automation/runs/{run_id}/fiches": Ruled(("automation.read",)),
    "GET /api/automation/runs/{run_id}/logs": Ruled(("automation.read",)),
    "POST /api/automation/runs/{run_id}/cancel": Ruled(("automation.read", "automation.write")),
    "POST /api/automation/runs/{run_id}/retry-failed": Ruled(("automation.read", "automation.write")),
    "POST /api/automation/schedules/{schedule_id}/preview": Ruled(("automation.read", "automation.write")),
    "GET /api/audits": ListOfFiches(("audits.read",)),
    "GET /api/audits/control-points/statuses": House(()),
    "GET /api/audits/review-queue": ListOfFiches(("audits.read",)),
    f"GET {POINT}": OfFiche(("audits.read",)),
    f"PATCH {POINT}/review": OfFiche(("audits.write",), body={"statut": "PARTIEL"}),
    "PATCH /api/audits/{audit_id}/steps/{step_position}/review": OfFiche(
        ("audits.write",), body={"conforme": "PARTIEL"}
    ),
    "POST /api/audits/{audit_id}/steps/{step_position}/rerun": OfFiche(("audits.rerun",), own=409),
    f"POST {POINT}/rerun": OfFiche(("audits.rerun",), own=409),
    "GET /api/audits/{audit_id}/reruns/{event_id}": OfFiche(("audits.read",), own=404),
    "GET /api/audits/grouped": ListOfFiches(("audits.read",), path="/api/audits/grouped?group_by=fiche"),
    "GET /api/audits/grouped-by-fiches": ListOfFiches(("audits.read",)),
    "GET /api/audits/export.csv": ListOfFiches(("audits.read",)),
    "GET /api/audits/export.xlsx": Ruled(("audits.read",)),
    "GET /api/audits/by-fiche/{fiche_id}": ListOfFiches(("audits.read",)),
    "GET /api/audits/{audit_id}": OfFiche(("audits.read",)),
    "PATCH /api/audits/{audit_id}": OfFiche(("audits.write",), body={"notes": "Revu."}),
    "DELETE /api/audits/{audit_id}": OfFiche(("audits.write",)),
    "GET /api/audits/{audit_id}/logs": OfFiche(("audits.read",)),
    "GET /api/audits/{audit_id}/dossier.html": OfFiche(("audits.read",)),
    "GET /api/audits/{audit_id}/dossier.pdf": OfFiche(("audits.read",)),
    "POST /api/realtime/pusher/auth": OfFiche(
        ("realtime.auth",),
        body={"socket_id": "123.456", "channel_name": "private-fiche-{fiche_id}"},
    ),
    "POST /api/realtime/pusher/test": Ruled(("realtime.test",)),
    "POST /api/automation/schedules": SCHEDULES_WRITE,
    "GET /api/automation/schedules": SCHEDULES_READ,
    "GET /api/automation/schedules/{schedule_id}": SCHEDULES_READ,
    "PATCH /api/automation/schedules/{schedule_id}": SCHEDULES_WRITE,
    "DELETE /api/automation/schedules/{schedule_id}": SCHEDULES_WRITE,
    "GET /api/automation/schedules/{schedule_id}/next": SCHEDULES_READ,
    "POST /api/automation/trigger": SCHEDULES_WRITE,
    "GET /api/automation/diagnostic": SCHEDULES_READ,
    "GET /api/webhooks/deliveries": HOOKS_READ,
    "GET /api/webhooks/deliveries/{delivery_id}": HOOKS_READ,
    "POST /api/webhooks/deliveries/redeliver": HOOKS_WRITE,
    "POST /api/webhooks/deliveries/{delivery_id}/redeliver": HOOKS_WRITE,
    "GET /api/webhooks/endpoints": HOOKS_READ,
    "POST /api/webhooks/endpoints/{endpoint_id}/secret": HOOKS_WRITE,
    "POST /api/webhooks/endpoints/{endpoint_id}/enable": HOOKS_WRITE,
    "GET /api/realtime/stream": OfFiche(
        ("realtime.read",),
        path="/api/realtime/stream?channels=private-global,private-fiche-{fiche_id}",
        headers={"Last-Event-ID": "none"},
        own=400,
    ),
}
"""What each route asks. A stream that is asked for is not opened: what it shall resume from is no event's id."""


PARAMETERS = {"call_id": "call-1", "step_id": "1", "config_id": "{config_id}"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build(SETTINGS, "postgresql://conforme@db.example.test/conforme").openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_is_classified_and_every_line_has_a_route(document: dict[str, Any]) -> None:
    assert set(operations(document)) == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_the_document_says_what_a_route_asks(document: dict[str, Any], route: str) -> None:
    security = operations(document)[route].get("security", [])
    told = [set(scopes) for each in security for scopes in each.values()]
    if isinstance(ROUTES[route], Public | SignIn):
        assert told == []
    else:
        assert told == [set(permissions_of(ROUTES[route]))] * 2


def permissions_of(rule: Rule) -> tuple[str, ...]:
    return () if isinstance(rule, Public | SignIn | Person) else rule.permissions


@dataclass(frozen=True)
class Known:
    """What there is of one fiche."""

    fiche_id: str
    audit_id: str


@dataclass(frozen=True)
class Ground:
    """What the walk finds: a fiche of the caller's and one of others, each with a call, a transcript and an audit."""

    config_id: str
    mine: Known
    theirs: Known
    absent: Known = Known(ABSENT, "999999")

    def filled(self, value: Any, of: Known) -> Any:
        """A path or a body with what it names put in."""
        if isinstance(value, Mapping):
            return {key: self.filled(each, of) for key, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each, of) for each in value]
        names = PARAMETERS | {"fiche_id": of.fiche_id, "audit_id": of.audit_id, "config_id": self.config_id}
        return re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], "1"), value)


async def _known(database: Database, fiche_id: str, groupe: str, advisor: str) -> Known:
    pinned = await configured(database, f"Grille {fiche_id}")
    async with database.write() as session:
        cache_id = await fiche(session, fiche_id, groupe)
        await session.execute(
            text(
                "update fiche_cache set attribution_user_id = :advisor, details_fetched_at = now(), listed_at = now(),"
                " sales_date = :day where id = :id"
            ),
            {"advisor": advisor, "id": cache_id, "day": SOLD_ON},
        )
        session.add(
            Recording(
                fiche_cache_id=cache_id,
                call_id="call-1",
                recording_url="https://cdn.example.test/r/1.mp3",
                has_transcription=True,
                transcription_state="done",
                transcription_text="Bonjour.",
                transcribed_at=now(),
            )
        )
        audit_id = await audit(session, pinned, int(fiche_id), fiche_id=fiche_id, fiche_cache_id=cache_id)
        await step(session, audit_id, 1)
    return Known(fiche_id, str(audit_id))


@pytest.fixture
async def ground(database: Database) -> Ground:
    mine = await _known(database, MINE, GROUPE, ADVISOR)
    theirs = await _known(database, THEIRS, OTHER_GROUPE, OTHER_ADVISOR)
    newest = await configured(database)
    return Ground(str(newest.config_id), mine, theirs)


async def person(database: Database, grants: Grants) -> SignedIn:
    """Somebody of the groupe, and the one advisor, that the first fiche belongs to."""
    async with database.write() as session:
        await session.execute(text("update users set crm_user_id = null"))
    return await signed_in(database, SETTINGS, grants, groupes=[GROUPE], crm_user_id=ADVISOR)


@dataclass(frozen=True)
class Walker:
    """Asks one route after another."""

    api: httpx2.AsyncClient
    ground: Ground

    async def ask(
        self, route: str, headers: Mapping[str, str], of: Known, query: str = ""
    ) -> httpx2.Response:
        method, _, path = route.partition(" ")
        rule = ROUTES[route]
        named = rule if isinstance(rule, OfFiche) else None
        asked = rule.path if isinstance(rule, OfFiche | ListOfFiches) else ""
        filled = self.ground.filled(asked or path, of)
        body = self.ground.filled(named.body if named else {}, of)
        sent = {"json": body} if method != "GET" else {}
        sent["headers"] = {**headers, **(named.headers if named else {})}
        mark = "&" if "?" in filled else "?"
        address = f"{filled}{mark}{query}" if query else filled
        return await self.api.request(method, address, **sent)

    async def told(
        self, route: str, headers: Mapping[str, str], of: Known, query: str = ""
    ) -> tuple[int, str]:
        """Status and body, with the ids that were asked for made alike."""
        answer = await self.ask(route, headers, of, query)
        body = answer.text.replace(of.fiche_id, "FICHE").replace(f"'{of.audit_id}'", "'AUDIT'")
        return answer.status_code, body


@pytest.fixture
async def walker(api: httpx2.AsyncClient, api_app: FastAPI, ground: Ground) -> AsyncGenerator[Walker]:
    del api.headers["Authorization"]
    resources: Resources = api_app.state.resources
    api_app.state.resources = replace(resources, settings=SETTINGS.model_copy(update=PUSHER))
    yield Walker(api, ground)
    api_app.state.resources = resources


def routes(*kinds: type[Rule]) -> list[str]:
    return [route for route, rule in ROUTES.items() if isinstance(rule, kinds)]


@pytest.mark.attack("no credential")
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guessed"}, {"X-API-Key": "cfm_guessed"}])
async def test_a_stranger_gets_nowhere_but_where_all_may(walker: Walker, headers: dict[str, str]) -> None:
    for route, rule in ROUTES.items():
        answer = await walker.ask(route, headers, walker.ground.mine)
        if isinstance(rule, Public):
            assert answer.status_code not in {401, 403}, route
        elif isinstance(rule, SignIn):
            assert answer.status_code in {400, 401} or answer.json()["data"] == {"logged_out": True}, route
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, "AUTHENTICATION_ERROR"), route


@pytest.mark.attack("vertical access")
@pytest.mark.parametrize(
    "permission", sorted({each for rule in ROUTES.values() for each in permissions_of(rule)})
)
async def test_every_permission_of_a_route_is_needed(
    walker: Walker, database: Database, permission: str
) -> None:
    need = Need.of(permission)
    without = {
        **everything_within(Scope.ALL).by_key,
        need.key: Grant(need.key, Scope.ALL if need.write else None, None if need.write else Scope.ALL),
    }
    caller = await person(database, Grants(without))
    for route in [route for route, rule in ROUTES.items() if permission in permissions_of(rule)]:
        for of in (walker.ground.mine, walker.ground.absent):
            answer = await walker.ask(route, caller.headers, of)
            assert (answer.status_code, answer.json()["error"]) == (403, MISSING_PERMISSION), route


@pytest.mark.attack("horizontal access")
@pytest.mark.parametrize("route", routes(OfFiche))
@pytest.mark.parametrize("scope", [Scope.GROUP, Scope.SELF])
async def test_a_fiche_of_others_is_answered_like_one_that_does_not_exist(
    walker: Walker, database: Database, route: str, scope: Scope
) -> None:
    await _deny(database)
    caller = await person(database, everything_within(scope))
    for query in ("", FILTERS):
        absent = await walker.told(route, caller.headers, walker.ground.absent, query)
        assert await walker.told(route, caller.headers, walker.ground.theirs, query) == absent
        assert absent[0] in {403, 404}
    rule = ROUTES[route]
    assert isinstance(rule, OfFiche)
    answer = await walker.ask(route, caller.headers, walker.ground.mine)
    assert answer.status_code == rule.own, answer.text


async def _deny(database: Database) -> None:
    """The CRM has said of the absent fiche that it does not exist: no worker is there to ask it."""
    async with database.write() as session:
        await session.execute(
            text(
                "insert into fiche_cache (fiche_id, details_success, details_message, expires_at)"
                " values (:fiche_id, false, 'NOT_FOUND', now() + interval '5 minutes')"
            ),
            {"fiche_id": ABSENT},
        )


@pytest.mark.parametrize("route", routes(OfFiche))
async def test_who_sees_everything_sees_the_fiche(walker: Walker, database: Database, route: str) -> None:
    rule = ROUTES[route]
    assert isinstance(rule, OfFiche)
    caller = await person(database, everything_within(Scope.ALL))
    for of in (walker.ground.mine, walker.ground.theirs):
        answer = await walker.ask(route, caller.headers, of)
        assert answer.status_code == rule.own, answer.text


@pytest.mark.attack("filter override")
@pytest.mark.parametrize("route", routes(ListOfFiches))
async def test_a_list_holds_what_is_within_scope_whatever_is_asked(
    walker: Walker, database: Database, route: str
) -> None:
    ground = walker.ground
    for scope in (Scope.GROUP, Scope.SELF):
        caller = await person(database, everything_within(scope))
        assert MINE in (await walker.ask(route, caller.headers, ground.mine)).text
        for of in (ground.mine, ground.theirs):
            for query in ("", FILTERS, "latest_only=false", "include_deleted=true", "limit=100&offset=0"):
                answer = await walker.ask(route, caller.headers, of, query)
                assert answer.status_code == 200, answer.text
                assert f'"{THEIRS}"' not in answer.text
                assert OTHER_GROUPE not in answer.text
    everybody = await person(database, everything_within(Scope.ALL))
    for of in (ground.mine, ground.theirs):
        assert of.fiche_id in (await walker.ask(route, everybody.headers, of)).text


@pytest.mark.attack("filter override")
@pytest.mark.parametrize("route", routes(ListOfFiches))
async def test_a_list_of_others_is_as_empty_as_one_of_nothing(
    walker: Walker, database: Database, route: str
) -> None:
    for scope in (Scope.GROUP, Scope.SELF):
        nobody = await signed_in(database, SETTINGS, everything_within(scope))
        told = [
            await walker.told(route, nobody.headers, of)
            for of in (walker.ground.mine, walker.ground.theirs, walker.ground.absent)
        ]
        assert told[0] == told[1] == told[2]
        assert told[0][0] == 200


@pytest.mark.parametrize("route", routes(House))
async def test_data_of_the_house_is_for_whoever_may_whatever_their_scope(
    walker: Walker, database: Database, route: str
) -> None:
    statuses: set[int] = set()
    for scope in Scope:
        caller = await person(database, everything_within(scope))
        if not route.startswith("GET"):
            statuses.add((await walker.ask(route, caller.headers, walker.ground.absent, "x=1")).status_code)
            continue
        statuses.add((await walker.ask(route, caller.headers, walker.ground.mine)).status_code)
    assert not statuses & {401, 403}


async def test_an_audit_of_a_fiche_that_nobody_knows_is_for_who_sees_everything(
    walker: Walker, database: Database
) -> None:
    async with database.write() as session:
        await session.execute(
            text("update audits set fiche_cache_id = null where id = :id"),
            {"id": int(walker.ground.mine.audit_id)},
        )
    path = f"/api/audits/{walker.ground.mine.audit_id}"
    for scope, status in ((Scope.GROUP, 404), (Scope.SELF, 404), (Scope.ALL, 200)):
        caller = await person(database, everything_within(scope))
        assert (await walker.api.get(path, headers=caller.headers)).status_code == status
        listed = (await walker.api.get("/api/audits", headers=caller.headers)).text
        assert (MINE in listed) is (status == 200)


async def test_whoever_asks_for_an_audit_follows_it_from_its_first_moment(
    walker: Walker, database: Database
) -> None:
    caller = await person(database, everything_within(Scope.SELF))
    asked = await walker.ask("POST /api/audits/run", caller.headers, walker.ground.mine)
    path = f"/api/audits/{asked.json()['audit_db_id']}"
    shown = await walker.api.get(path, headers=caller.headers)
    assert shown.json()["data"]["status"] == "pending"
    assert shown.json()["data"]["triggerUserId"] == str(caller.id)


@pytest.mark.attack("replay out of scope")
async def test_a_key_of_ones_own_replays_nothing_that_is_out_of_scope_by_now(
    walker: Walker, database: Database
) -> None:
    caller = await person(database, everything_within(Scope.GROUP))
    headers = {**caller.headers, "Idempotency-Key": "once"}
    first = await walker.ask("POST /api/audits/run", headers, walker.ground.mine)
    again = await walker.ask("POST /api/audits/run", headers, walker.ground.mine)
    assert first.json()["audit_db_id"] == again.json()["audit_db_id"]
    async with database.write() as session:
        await session.execute(text("update fiche_cache set groupe = 'AILLEURS'"))
    assert (await walker.ask("POST /api/audits/run", headers, walker.ground.mine)).status_code == 403


@pytest.mark.attack("vertical access")
async def test_deleted_audits_are_listed_for_who_may_delete_them(walker: Walker, database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("update audits set deleted_at = now()"))
    path = "/api/audits?include_deleted=true"
    reader = await person(database, Grants.of([Grant("audits", read=Scope.ALL)]))
    refused = await walker.api.get(path, headers=reader.headers)
    assert (refused.status_code, refused.json()["error"]) == (403, MISSING_PERMISSION)
    # Seen as far as the narrower of the two permissions reaches.
    writer = await person(database, Grants.of([Grant("audits", read=Scope.ALL, write=Scope.GROUP)]))
    shown = (await walker.api.get(path, headers=writer.headers)).text
    assert MINE in shown
    assert f'"{THEIRS}"' not in shown


def test_every_key_of_a_permission_is_one_that_exists() -> None:
    named = {permission for rule in ROUTES.values() for permission in permissions_of(rule)}
    assert {Need.of(permission).key for permission in named} <= set(KEYS)
