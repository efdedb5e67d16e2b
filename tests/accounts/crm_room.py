"""The application with a CRM whose directory a test writes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.app import Role, build
from conforme.foundation.database import Database
from conforme.sandbox.chassis import Service
from conforme.settings import Settings
from product_fixtures import API_TOKEN, SETTINGS

Json = dict[str, Any]


async def _nothing() -> None: ...


@dataclass
class Directory:
    """What the CRM says; `meanwhile` happens while it is asked."""

    users: list[Any] = field(default_factory=list[Any])
    groups: list[Any] = field(default_factory=list[Any])
    status: int = 200
    asked: list[str] = field(default_factory=list[str])
    meanwhile: Callable[[], Awaitable[None]] = _nothing

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/utilisateurs", self._users),
                Route("/api/utilisateurs/groupes", self._groups),
            ]
        )

    def forget(self) -> None:
        """As if nobody worked there."""
        self.__init__()

    async def _users(self, request: Request) -> Response:
        return await self._answer(request, {"utilisateurs": self.users})

    async def _groups(self, request: Request) -> Response:
        shown = self.groups
        if request.query_params.get("include_users") != "true":
            shown = [{key: group[key] for key in group if key != "user_ids"} for group in shown]
        return await self._answer(request, {"groupes": shown})

    async def _answer(self, request: Request, data: Json) -> Response:
        self.asked.append(request.url.path)
        await self.meanwhile()
        return JSONResponse({"success": True, "data": data}, self.status)


@dataclass
class Room:
    crm: Directory
    http: httpx2.AsyncClient
    database: Database
    own: Database
    """The one that the application works with."""


def user(number: str, **fields: Any) -> Json:
    """A person of the CRM."""
    return {"id": number, "nom": "COLLET", "prenom": "Inès", "email": f"Ines{number}@Example.test", **fields}


def group(number: str, nom: str, *user_ids: str, **fields: Any) -> Json:
    """A sales team of the CRM."""
    return {"id": number, "nom": nom, "membres_count": len(user_ids), "user_ids": list(user_ids), **fields}


@asynccontextmanager
async def crm_room(database: Database, database_url: str) -> AsyncGenerator[Room]:
    directory = Directory()
    async with Service("crm", directory.app()) as service:
        settings = Settings.model_validate(SETTINGS.model_dump() | {"fiche_api_base_url": service.url})
        app = build(settings, database_url, Role.API)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {API_TOKEN}"}
        client = httpx2.AsyncClient(transport=transport, base_url="http://conforme.test", headers=headers)
        async with app.router.lifespan_context(app), client:
            yield Room(directory, client, database, app.state.resources.database)
