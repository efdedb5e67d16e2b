"""The CRM gateway of spec/fiches §1 on loopback: listings, files, directory, and the recordings they point to.

Recordings are served by the same origin under `/recordings/`, without a token and with byte ranges, as a file
store would. What a gateway gets wrong in its own way is a setting here (`GatewayFaults`); refusals, silence and
latency are the chassis's.
"""

import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.sandbox import audio, dossier
from conforme.sandbox.population import Population

Json = dict[str, Any]
DEFAULT_BEARER = "sandbox-crm"
LONGEST_RANGE = timedelta(days=366)


@dataclass(slots=True)
class GatewayFaults:
    """What the gateway does wrong while answering; shares from 0 to 1. May be changed at any time."""

    spurious_not_found: float = 0.0
    """Share of first requests for a fiche that get 404 although it exists; asked again, it is there."""
    malformed_items: float = 0.0
    """Share of fiches whose line in a listing breaks the schema, always the same ones."""
    unsuccessful: frozenset[str] = frozenset()
    """Fiche ids answered 200 with `success: false`."""
    unlistable: frozenset[date] = frozenset()
    """Days whose sales cannot be listed: a search of a range that holds one answers 422."""
    longest_listing: int | None = None
    """A listing ends after so many fiches, although its `total` counts all."""
    missing: frozenset[str] = frozenset()
    """Fiche ids answered 404 however often they are asked for."""
    without_recordings: frozenset[str] = frozenset()
    """Fiche ids whose recordings are never listed."""
    crowded: Mapping[str, int] = field(default_factory=dict[str, int])
    """Fiche ids with the number of calls their details list: the known ones, again and again under other ids."""
    lost_audio: frozenset[str] = frozenset()
    """File names of recordings that are listed and answered 404."""


class Gateway:
    """The routes of the gateway over one population; `app` is the ASGI application."""

    def __init__(
        self,
        population: Population,
        *,
        token: str | None = DEFAULT_BEARER,
        faults: GatewayFaults | None = None,
    ) -> None:
        self.population = population
        self.token = token
        """Bearer token that API routes ask for; None asks for none."""
        self.views: dict[str, Callable[[str], bool]] = {}
        """Other tokens, and which fiches each of them sees."""
        self.asked_with: dict[str, set[str]] = {}
        """By token, the paths that were asked for."""
        self.faults = faults or GatewayFaults()
        self.searches: list[tuple[date, date]] = []
        """The ranges of days that were searched, in order."""
        self._asked: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/api/fiches/sales-with-calls", self._guarded(self._sales)),
                Route("/api/fiches/by-id/{fiche_id}", self._guarded(self._fiche)),
                Route("/api/utilisateurs", self._guarded(self._users)),
                Route("/api/utilisateurs/groupes", self._guarded(self._groups)),
                Route("/recordings/{file_name}", self._recording),
                Route("/health", self._health),
            ],
            exception_handlers={404: _unknown_route},
        )
        self.app.state.gateway = self

    def _guarded(
        self, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            token = given.strip() if scheme.lower() == "bearer" else ""
            if self.token is not None and token != self.token and token not in self.views:
                return _refusal(401, "Unauthorized")
            self.asked_with.setdefault(token, set()).add(request.url.path)
            return await answer(request)

        return guarded

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _sales(self, request: Request) -> Response:
        query = request.query_params
        first, last = _day(query.get("start_date")), _day(query.get("end_date"))
        if first is None or last is None or last < first or last - first > LONGEST_RANGE:
            return _refusal(400, "start_date and end_date must be dates (YYYY-MM-DD), in order")
        if query.get("status_id", "53") != "53":
            return JSONResponse({"fiches": [], "total": 0})
        self.searches.append((first, last))
        base = _base(request) if _is_true(query.get("include_recordings")) else None
        days = [first + timedelta(days=rank) for rank in range((last - first).days + 1)]
        if not self.faults.unlistable.isdisjoint(days):
            return _refusal(422, "These sales cannot be listed")
        sees = self._view(request)
        sales = [sale for day in days for sale in self.population.sales(day) if sees(sale.fiche_id)]
        items = [
            self._item(dossier.listing_item(self.population, sale, recordings_at=base)) for sale in sales
        ]
        self._break_one(request, items)
        return JSONResponse({"fiches": items[: self.faults.longest_listing], "total": len(items)})

    def _item(self, item: Json) -> Json:
        fiche_id = item["id"]
        if fiche_id in self.faults.without_recordings:
            item["recordings"] = []
        if random.Random(f"malformed:{fiche_id}").random() < self.faults.malformed_items:
            return _malformed(item)
        return item

    def _break_one(self, request: Request, items: list[Json]) -> None:
        """A listing breaks its protocol by one bad line among good ones."""
        exchange = request.scope.get("conforme.sandbox.exchange")
        if exchange is not None and exchange.malformed and items:
            exchange.malformed = False
            items[len(items) // 2] = _malformed(items[len(items) // 2])

    async def _fiche(self, request: Request) -> Response:
        fiche_id = request.path_params["fiche_id"]
        self._asked[fiche_id] += 1
        sale = self.population.find(fiche_id)
        denied = fiche_id in self.faults.missing or not self._view(request)(fiche_id)
        if sale is None or denied or self._denies(fiche_id):
            return _refusal(404, "Fiche not found")
        if fiche_id in self.faults.unsuccessful:
            return _refusal(200, "Fiche could not be parsed")
        query = request.query_params
        listed = _is_true(query.get("include_recordings")) and fiche_id not in self.faults.without_recordings
        file = dossier.details(
            self.population,
            sale,
            recordings_at=_base(request) if listed else None,
            mail_devis=_is_true(query.get("include_mail_devis")),
        )
        if listed and fiche_id in self.faults.crowded:
            file["recordings"] = _crowd(file["recordings"], self.faults.crowded[fiche_id])
        return JSONResponse(file)

    def _view(self, request: Request) -> Callable[[str], bool]:
        token = request.headers.get("authorization", "").partition(" ")[2].strip()
        return self.views.get(token, lambda _: True)

    def _denies(self, fiche_id: str) -> bool:
        unlucky = random.Random(f"spurious:{fiche_id}").random() < self.faults.spurious_not_found
        return unlucky and self._asked[fiche_id] == 1

    async def _users(self, _: Request) -> Response:
        users = dossier.users()
        data = {"utilisateurs": users, "total_count": len(users)}
        return JSONResponse({"success": True, "message": "ok", "data": data})

    async def _groups(self, request: Request) -> Response:
        groups = dossier.groups(with_users=_is_true(request.query_params.get("include_users")))
        return JSONResponse({"success": True, "data": {"groupes": groups, "total_count": len(groups)}})

    async def _recording(self, request: Request) -> Response:
        recording = self.population.recording(request.path_params["file_name"])
        if recording is None or recording.file_name in self.faults.lost_audio:
            return _refusal(404, "Recording not found")
        return _ranged(_audio(self.population, str(recording.reference), recording.file_name), request)


def crm_app(
    population: Population, *, token: str | None = DEFAULT_BEARER, faults: GatewayFaults | None = None
) -> Starlette:
    """The gateway as an ASGI application; `app.state.gateway` is the `Gateway` behind it."""
    return Gateway(population, token=token, faults=faults).app


@lru_cache(maxsize=16)
def _audio(population: Population, _: str, file_name: str) -> bytes:
    recording = population.recording(file_name)
    return audio.render(population.corpus.play(recording.reference)) if recording else b""


def _ranged(body: bytes, request: Request) -> Response:
    """The file, or the part of it that a player asks for when its user seeks."""
    headers = {"accept-ranges": "bytes", "cache-control": "private, max-age=3600"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not asked:
        return Response(body, media_type="audio/mpeg", headers=headers)
    first = int(asked[1])
    last = min(int(asked[2]) if asked[2] else len(body) - 1, len(body) - 1)
    if first > last:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{len(body)}"})
    headers["content-range"] = f"bytes {first}-{last}/{len(body)}"
    return Response(body[first : last + 1], 206, media_type="audio/mpeg", headers=headers)


def _crowd(recordings: list[Json], count: int) -> list[Json]:
    listed = (recordings[rank % len(recordings)] for rank in range(count))
    return [item | {"call_id": f"{item['call_id']}{rank:04d}"} for rank, item in enumerate(listed)]


def _malformed(item: Json) -> Json:
    """The same line as a careless gateway would send it: a name missing, a flag for a list."""
    return {key: value for key, value in item.items() if key != "nom"} | {"recordings": False}


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"success": False, "message": message}, status_code=status)


async def _unknown_route(_: Request, __: Exception) -> Response:
    return _refusal(404, "Not found")


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in {"true", "1"}


def _day(text: str | None) -> date | None:
    if not text or not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
