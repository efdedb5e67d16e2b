"""The CRM's directory: who works there, and in which team."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.crm.directory import CrmDirectory
from conforme.crm.errors import GatewayFailed
from conforme.foundation.errors import Misconfigured
from conforme.foundation.outbound import Outbound
from conforme.sandbox import dossier
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import DEFAULT_BEARER, crm_app
from conforme.sandbox.population import Population
from conforme.sandbox.weather import FaultPlan
from conforme.settings import Settings


@asynccontextmanager
async def directory_of(
    app: Starlette, *, token: str | None = DEFAULT_BEARER, faults: FaultPlan | None = None
) -> AsyncGenerator[CrmDirectory]:
    async with Service("crm", app, faults=faults) as service:
        settings = Settings.model_validate({"fiche_api_base_url": service.url, "fiche_api_auth_token": token})
        outbound = Outbound(settings)
        yield CrmDirectory(outbound, settings)
        await outbound.aclose()


def answering(body: Any, status: int = 200) -> Starlette:
    """A gateway that answers everything alike."""

    async def answer(_: Request) -> Response:
        if isinstance(body, bytes):
            return Response(body, status)
        return JSONResponse(body, status)

    return Starlette(routes=[Route("/api/{path:path}", answer)])


def sandbox() -> Starlette:
    return crm_app(Population(load_corpus(), sales_per_day=1))


async def test_everybody_the_crm_knows_is_listed() -> None:
    async with directory_of(sandbox()) as directory:
        listed = await directory.users()
    assert [user.model_dump() for user in listed.items] == dossier.users()
    assert listed.skipped == 0


@pytest.mark.parametrize("with_users", [True, False])
async def test_teams_are_listed_and_their_members_on_demand(with_users: bool) -> None:
    async with directory_of(sandbox()) as directory:
        listed = await directory.groups(include_users=with_users)
    assert [group.model_dump(exclude_unset=True) for group in listed.items] == dossier.groups(
        with_users=with_users
    )
    assert all((group.user_ids is not None) is with_users for group in listed.items)


async def test_a_gateway_that_wants_another_token_is_a_failure_in_our_words() -> None:
    async with directory_of(sandbox(), token="wrong") as directory:
        with pytest.raises(GatewayFailed, match=r"^Failed to fetch CRM users: status=401") as caught:
            await directory.users()
        assert caught.value.status == 502
        assert not caught.value.retryable
        with pytest.raises(GatewayFailed, match=r"^Failed to fetch CRM groups: status=401"):
            await directory.groups(include_users=False)


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_any_other_answer_fails_and_says_whether_asking_again_may_help(status: int) -> None:
    async with directory_of(answering({"error": "Inès COLLET"}, status)) as directory:
        with pytest.raises(GatewayFailed) as caught:
            await directory.users()
    assert caught.value.retryable
    assert "COLLET" not in caught.value.message


async def test_a_gateway_that_is_gone_is_a_failure() -> None:
    async with directory_of(sandbox()) as directory:
        pass
    with pytest.raises(GatewayFailed) as caught:
        await directory.groups(include_users=True)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        {"success": False, "data": {"utilisateurs": []}},
        {"utilisateurs": []},
        {"data": []},
        {"data": {"utilisateurs": {}}},
        {"data": {"groupes": []}},
    ],
)
async def test_what_is_no_listing_is_refused(body: Any) -> None:
    async with directory_of(answering(body)) as directory:
        with pytest.raises(GatewayFailed) as caught:
            await directory.users()
    assert not caught.value.retryable


async def test_a_malformed_person_is_skipped_and_counted_and_only_the_id_is_needed() -> None:
    people = [
        {"id": "211"},
        {"nom": "COLLET"},
        {"id": 212},
        {"id": " "},
        {"id": "x" * 81},
        {"id": "213", "email": ["a@example.test"]},
        "x",
        {"id": "214", "email": None, "mot_de_passe": "secret"},
    ]
    async with directory_of(answering({"data": {"utilisateurs": people}})) as directory:
        listed = await directory.users()
    assert [user.id for user in listed.items] == ["211", "214"]
    assert listed.skipped == 6
    assert "secret" not in str(listed), "what nobody asked for is not kept"


async def test_a_malformed_team_is_skipped_and_counted() -> None:
    teams = [
        {"id": "51", "nom": "EQUIPE R1", "user_ids": ["211"]},
        {"id": "52"},
        {"id": "53", "nom": None},
        {"id": "54", "nom": "EQUIPE R4", "user_ids": [211]},
        {"id": "55", "nom": "x" * 501},
        {"id": "56", "nom": "a\0b"},
    ]
    async with directory_of(answering({"data": {"groupes": teams}})) as directory:
        listed = await directory.groups(include_users=True)
    assert [(group.id, group.nom) for group in listed.items] == [("51", "EQUIPE R1"), ("56", "ab")]
    assert listed.skipped == 4


def test_without_an_address_there_is_no_directory() -> None:
    settings = Settings()
    with pytest.raises(Misconfigured):
        CrmDirectory(Outbound(settings), settings)
