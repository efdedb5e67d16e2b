"""A receiver of webhooks on loopback: keeps what it was sent and answers as it is told.

Any path under `/hooks/` is a receiver of its own. `script` (or `POST /__sandbox__/script` with
`{"receiver": "a", "answers": [{"status": 500}, {"status": 410}]}`) lines up its next answers; when the script is
used up it answers 200.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.sandbox.chassis import CONTROL_PREFIX, Service
from conforme.sandbox.weather import FaultPlan, Latency


class ScriptedAnswer(BaseModel):
    """One answer to come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: int = Field(default=200, ge=200, le=599)
    retry_after: str | None = None
    """Value of `Retry-After`: seconds or an HTTP date."""
    location: str | None = None
    delay_seconds: float = Field(default=0.0, ge=0, le=600)


class Script(BaseModel):
    model_config = ConfigDict(extra="forbid")

    receiver: str
    answers: tuple[ScriptedAnswer, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request received."""

    receiver: str
    headers: dict[str, str]
    """Names in lower case."""
    body: str
    status: int
    """What it was answered."""


class WebhookSink:
    """The receivers; `deliveries` holds what came, in order."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._scripts: defaultdict[str, deque[ScriptedAnswer]] = defaultdict(deque)

    def service(
        self, *, seed: int = 0, faults: FaultPlan | None = None, latency: Latency | None = None
    ) -> Service:
        routes = [
            Route("/hooks/{receiver:path}", self._receive, methods=["POST", "PUT", "GET"]),
            Route(f"{CONTROL_PREFIX}/script", self._script, methods=["POST"]),
        ]
        return Service(
            "webhooks",
            Starlette(routes=routes),
            seed=seed,
            faults=faults,
            latency=latency,
            report=self.report,
        )

    def script(self, receiver: str, answers: Sequence[ScriptedAnswer]) -> None:
        """Lines up the next answers of a receiver behind those it already has."""
        self._scripts[receiver].extend(answers)

    def report(self) -> Mapping[str, Any]:
        return {"deliveries": [asdict(delivery) for delivery in self.deliveries]}

    async def _receive(self, request: Request) -> Response:
        receiver = request.path_params["receiver"]
        body = (await request.body()).decode("utf-8", "replace")
        waiting = self._scripts[receiver]
        answer = waiting.popleft() if waiting else ScriptedAnswer()
        self.deliveries.append(Delivery(receiver, dict(request.headers), body, answer.status))
        await asyncio.sleep(answer.delay_seconds)
        named = {"retry-after": answer.retry_after, "location": answer.location}
        headers = {name: value for name, value in named.items() if value is not None}
        return Response(status_code=answer.status, headers=headers)

    async def _script(self, request: Request) -> Response:
        try:
            script = Script.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        self.script(script.receiver, script.answers)
        return JSONResponse({"waiting": len(self._scripts[script.receiver])})
