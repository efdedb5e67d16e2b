"""A loopback HTTP service that misbehaves on demand and counts what it was asked.

`Service` wraps a Starlette application that speaks some provider's protocol. Around the routes of that
application, and around no others, it adds latency, seeded faults and counts; beside them it answers under
`/__sandbox__` so that a test in another process can read the counts and change the weather:

    GET  /__sandbox__/counts    what was asked, answered, refused; POST empties the counts
    GET  /__sandbox__/journal   one line per request, oldest first (at most 50 000)
    GET  /__sandbox__/faults    the `FaultPlan`; POST merges fields into it, `{"rate": 0.2}` spreads a rate
    GET  /__sandbox__/latency   the `Latency`; POST merges fields into it

A route of the application reaches its own exchange by `exchange_of(request)`: to say how much work the answer
was (latency per unit), to be told when it was delivered, or to make its own kind of malformed answer.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from conforme.sandbox.tally import Exchange, Tally
from conforme.sandbox.weather import Fault, FaultPlan, Latency

CONTROL_PREFIX = "/__sandbox__"

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def exchange_of(request: Request) -> Exchange:
    """The exchange of a request that came through a `Service`."""
    return request.scope["conforme.sandbox.exchange"]


class _QuietProtocol(H11Protocol):
    """uvicorn's protocol without its log lines: a cut connection is a service rendered here, not an error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = logging.getLogger("conforme.sandbox.silence")
        self.logger.disabled = True
        self.access_log = False


class Service:
    """One simulated provider on loopback: `async with Service("crm", app) as crm: crm.url`.

    Faults depend on the seed, on what is asked and on how often it was asked, not on the order in which
    parallel requests arrive: the same run meets the same faults.
    """

    def __init__(
        self,
        name: str,
        app: Starlette,
        *,
        seed: int = 0,
        faults: FaultPlan | None = None,
        latency: Latency | None = None,
        report: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.name = name
        self.app = app
        self.seed = seed
        self.faults = faults or FaultPlan()
        self.latency = latency or Latency()
        self.counters: Counter[str] = Counter()
        """Counts particular to the protocol: tokens, seconds of audio."""
        self.tally = Tally()
        self._report = report
        self._attempts: Counter[str] = Counter()
        self._control = Starlette(routes=self._control_routes())
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self.port = 0

    # Life

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listens on loopback; port 0 lets the system choose. Raises OSError when the port is taken."""
        config = Config(self, log_config=None, lifespan="off", timeout_keep_alive=60)

        def connect() -> _QuietProtocol:
            return _QuietProtocol(config=config, server_state=self._state, app_state={})

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(connect, "127.0.0.1", port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops at once: requests under way are cut."""
        if self._server is None:
            return
        self._server.close()
        # Connections first: a cancelled request would otherwise still answer 500.
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # What was asked

    def counts(self) -> dict[str, Any]:
        """`{service, in_flight, peak_in_flight, routes: {"GET /x": {...}}, counters, ...report}`."""
        own = dict(self._report()) if self._report else {}
        return {"service": self.name} | self.tally.as_json() | {"counters": dict(self.counters)} | own

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        if scope["path"].startswith(f"{CONTROL_PREFIX}/") and _match(self._control.routes, scope):
            await self._control(scope, receive, send)
            return
        route = _match(self.app.routes, scope)
        if route is None or scope["path"].startswith(CONTROL_PREFIX):
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        if body is not None:
            await self._serve(route, scope, body, _Wire(receive, send))

    async def _serve(self, route: str, scope: Scope, body: bytes, wire: "_Wire") -> None:
        exchange = Exchange(route, _subject(scope, body), time.time())
        self.tally.arrive(exchange)
        outcome, status = "abandoned", None
        try:
            outcome, status = await self._treat(exchange, scope, body, wire)
        except Exception:
            outcome, status = "broken", 500
            logger.exception("the %s simulator failed on %s", self.name, route)
            await wire.send_whole(_error(500, "the simulator itself failed"))
        finally:
            self.tally.leave(exchange, outcome, status)
            await wire.close()

    async def _treat(
        self, exchange: Exchange, scope: Scope, body: bytes, wire: "_Wire"
    ) -> tuple[str, int | None]:
        fault = self._draw(exchange)
        if self.faults.down or fault in {Fault.UNAVAILABLE, Fault.SERVER_ERROR, Fault.RATE_LIMITED}:
            return await self._refuse(exchange, fault, wire)
        if fault is Fault.TIMEOUT:
            left = await wire.gone_within(self.faults.hang_seconds)
            if not left:
                await wire.cut(b"")
            return fault, None
        exchange.malformed = fault is Fault.MALFORMED
        answer = await self._ask(exchange, scope, body)
        if await wire.gone_within(self.latency.seconds(exchange.units) - (time.time() - exchange.arrived)):
            return "abandoned", None
        if fault is Fault.DISCONNECT:
            await wire.cut(answer.body)
            return fault, None
        if exchange.malformed:
            answer.body = answer.body[: len(answer.body) // 2]
        await wire.send_whole(answer)
        for call in exchange.on_answered:
            call()
        return fault or "answered", answer.status

    async def _refuse(self, exchange: Exchange, fault: Fault | None, wire: "_Wire") -> tuple[str, int | None]:
        if await wire.gone_within(self.latency.base_ms / 1000):
            return "abandoned", None
        if self.faults.down:
            await wire.send_whole(_error(503, "service unavailable"))
            return "down", 503
        if fault is Fault.RATE_LIMITED:
            wait = self.faults.retry_after_seconds
            self.tally.told_to_wait(exchange, wait)
            await wire.send_whole(_error(429, "rate limit reached", retry_after=wait))
            return fault, 429
        status = 500 if fault is Fault.SERVER_ERROR else 503
        await wire.send_whole(_error(status, "internal error"))
        return str(fault), status

    def _draw(self, exchange: Exchange) -> Fault | None:
        self._attempts[exchange.subject] += 1
        attempt = self._attempts[exchange.subject]
        dice = random.Random(f"{self.seed}:{self.name}:{exchange.subject}:{attempt}")
        return self.faults.draw(dice.random())

    async def _ask(self, exchange: Exchange, scope: Scope, body: bytes) -> _Answer:
        """The application's whole answer, kept back until its latency has passed."""
        answer = _Answer(500, [], b"")
        parts: list[bytes] = []
        given = False

        async def receive() -> Message:
            nonlocal given
            if given:
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = list(message.get("headers", []))
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self.app(dict(scope) | {"conforme.sandbox.exchange": exchange}, receive, send)
        answer.body = b"".join(parts)
        return answer

    # Control

    def _control_routes(self) -> list[Route]:
        async def counts(request: Request) -> Response:
            if request.method == "POST":
                self.tally.clear()
                self.counters.clear()
            return JSONResponse(self.counts())

        async def journal(_: Request) -> Response:
            return JSONResponse([asdict(entry) for entry in self.tally.journal])

        async def faults(request: Request) -> Response:
            self.faults, answer = await _merged(self.faults, request)
            return answer

        async def latency(request: Request) -> Response:
            self.latency, answer = await _merged(self.latency, request)
            return answer

        return [
            Route(f"{CONTROL_PREFIX}/counts", counts, methods=["GET", "POST"]),
            Route(f"{CONTROL_PREFIX}/journal", journal),
            Route(f"{CONTROL_PREFIX}/faults", faults, methods=["GET", "POST"]),
            Route(f"{CONTROL_PREFIX}/latency", latency, methods=["GET", "POST"]),
        ]


class _Wire:
    """The client's end of one exchange."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._gone: asyncio.Task[Message] | None = None

    async def gone_within(self, seconds: float) -> bool:
        """Waits, and says whether the client left meanwhile."""
        if seconds <= 0:
            return False
        if self._gone is None:
            self._gone = asyncio.ensure_future(_awaited(self._receive()))
        await asyncio.wait({self._gone}, timeout=seconds)
        return self._gone.done()

    async def send_whole(self, answer: _Answer) -> None:
        length = (b"content-length", str(len(answer.body)).encode())
        headers = [pair for pair in answer.headers if pair[0].lower() != b"content-length"]
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": [*headers, length]}
        )
        await self._send({"type": "http.response.body", "body": answer.body})

    async def cut(self, body: bytes) -> None:
        """Promises more than it sends; the server closes the connection on the unfinished answer."""
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body) + 64).encode())]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})

    async def close(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.cancel()
            await asyncio.wait({self._gone})


async def _awaited(waited: Awaitable[T]) -> T:
    return await waited


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when the client left before it was sent."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _match(routes: list[BaseRoute], scope: Scope) -> str | None:
    """`METHOD /path/{parameter}` of the route that answers, or None."""
    for route in routes:
        if route.matches(scope)[0] is Match.FULL:
            return f"{scope['method']} {getattr(route, 'path', scope['path'])}"
    return None


def _subject(scope: Scope, body: bytes) -> str:
    content_type = Headers(scope=scope).get("content-type", "")
    _, _, boundary = content_type.partition("boundary=")
    if boundary:
        body = body.replace(boundary.strip('"').encode(), b"")
    asked = b"\0".join(
        [scope["method"].encode(), scope["path"].encode(), scope.get("query_string", b""), body]
    )
    return hashlib.blake2b(asked, digest_size=12).hexdigest()


def _error(status: int, message: str, *, retry_after: float | None = None) -> _Answer:
    """An error body that the clients of all providers simulated here can read."""
    limited = status == 429
    kind, code = ("rate_limit_error", "rate_limit_exceeded") if limited else ("server_error", None)
    body = {"error": {"message": message, "type": kind, "code": code}, "detail": message}
    headers = [(b"content-type", b"application/json")]
    if retry_after is not None:
        headers.append((b"retry-after", f"{retry_after:g}".encode()))
    return _Answer(status, headers, json.dumps(body).encode())


Weather = TypeVar("Weather", FaultPlan, Latency)


async def _merged(current: Weather, request: Request) -> tuple[Weather, Response]:
    """The setting with the posted fields merged in, and the answer that tells it."""
    if request.method == "POST":
        try:
            posted = json.loads(await request.body())
            current = type(current).model_validate(current.model_dump() | posted)
        except (ValidationError, ValueError, TypeError) as error:
            return current, JSONResponse({"error": str(error)}, status_code=400)
    return current, JSONResponse(current.model_dump(mode="json"))


@contextlib.contextmanager
def in_thread(context: AbstractAsyncContextManager[T]) -> Generator[T]:
    """Runs an asynchronous context in a loop and a thread of its own, for callers that block theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        entered = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
        try:
            yield entered
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
