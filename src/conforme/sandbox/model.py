"""An OpenAI-compatible language model whose answers come from rules: see `auditor` for what it can do.

Speaks `POST /v1/responses`, `POST /v1/chat/completions` (JSON schema or tool calls, streamed or whole) and
`GET /v1/models`; bills tokens with the provider's prompt caching; answers in time proportional to its output.
A share of its answers can be refusals, a share of its control points can carry a fabricated quote: those are
recorded word for word, so that a reader of the counts can prove that none was kept.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.sandbox.auditor import audit_step, name_speakers
from conforme.sandbox.chassis import Service, exchange_of
from conforme.sandbox.fabrication import Fabrication, fabricate
from conforme.sandbox.gullible import obey
from conforme.sandbox.lexicon import lexicon
from conforme.sandbox.lookups import next_calls, with_transcript
from conforme.sandbox.openai_wire import (
    Answer,
    Asked,
    Call,
    Protocol,
    ProtocolError,
    asked_of,
    rendered,
    streamed,
)
from conforme.sandbox.prefix_cache import PrefixCache, tokens_in
from conforme.sandbox.reading import fenced, spoken_turns
from conforme.sandbox.tally import Exchange
from conforme.sandbox.weather import FaultPlan, Latency

MODELS = ("gpt-5.2", "gpt-5.2-mini")
REFUSAL = "Je ne peux pas répondre à cette demande."
NOT_AN_AUDIT = "Lecture par règles : je ne sais lire que l'étape d'un audit."
BREAKAGES = ("invalid_json", "wrong_schema", "truncated")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Shares are between 0 and 1."""

    api_key: str = "sandbox-model-key"
    seed: int = 0
    fabricated_share: float = 0.0
    """Share of control points that carry a quote nobody said."""
    refusal_share: float = 0.0
    gullible: bool = False
    """Does what the calls tell it to do: one word to the auditor, and every point is met and no fault is seen."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the stand-in says, before it is put on the wire."""

    text: str
    kind: str = "whole"
    planted: tuple[Fabrication, ...] = ()
    calls: tuple[Call, ...] = ()


class ModelStandIn:
    """The rules, the bill and the lies behind the protocol."""

    def __init__(self, options: ModelOptions | None = None) -> None:
        self.options = options or ModelOptions()
        self.usage: Counter[str] = Counter()
        """`calls`, `input_tokens`, `cached_tokens`, `output_tokens`, `refusals` of the answers that left."""
        self.planted: dict[str, Fabrication] = {}
        """Fabricated quotes that left in an answer, by their text."""
        self._cache = PrefixCache()
        lexicon()  # Read now: the first question must not wait for it.

    def service(self, *, faults: FaultPlan | None = None, latency: Latency | None = None) -> Service:
        routes = [
            Route("/v1/responses", self._responses, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        return Service(
            "model",
            Starlette(routes=routes),
            seed=self.options.seed,
            faults=faults,
            latency=latency,
            report=self.report,
        )

    def report(self) -> Mapping[str, Any]:
        """`{usage, planted: {fabricated_quotes, quotes: [{text, kind, recording, turn}]}}`."""
        quotes = [asdict(quote) for quote in self.planted.values()]
        return {"usage": dict(self.usage), "planted": {"fabricated_quotes": len(quotes), "quotes": quotes}}

    # Routes

    async def _responses(self, request: Request) -> Response:
        return await self._complete("responses", request)

    async def _chat(self, request: Request) -> Response:
        return await self._complete("chat", request)

    async def _models(self, request: Request) -> Response:
        if not self._admitted(request):
            return _refused(401, "Incorrect API key provided.", "invalid_api_key")
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "sandbox"} for name in MODELS]
        return JSONResponse({"object": "list", "data": models})

    def _admitted(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.options.api_key}"

    async def _complete(self, protocol: Protocol, request: Request) -> Response:
        if not self._admitted(request):
            return _refused(401, "Incorrect API key provided.", "invalid_api_key")
        try:
            asked = asked_of(protocol, await request.body())
        except ProtocolError as error:
            return _refused(400, str(error), None)
        exchange = exchange_of(request)
        answer = self._billed(asked, exchange, self._reply(asked, exchange))
        if asked.stream:
            return Response(streamed(asked, answer), media_type="text/event-stream")
        return JSONResponse(rendered(asked, answer))

    # Answers

    def _reply(self, asked: Asked, exchange: Exchange) -> _Reply:
        dice = random.Random(f"{self.options.seed}:reply:{exchange.subject}")
        if dice.random() < self.options.refusal_share:
            return _Reply(REFUSAL, kind="refused")
        if asked.schema is None:
            return _Reply(NOT_AN_AUDIT)
        reply = self._answer(asked, asked.schema)
        if exchange.malformed:
            exchange.malformed = False
            return _broken(reply, dice.choice(BREAKAGES))
        return reply

    def _answer(self, asked: Asked, schema: Mapping[str, Any]) -> _Reply:
        if _wants_verdict(asked):
            return self._judged(asked)
        if "locuteurs" in schema.get("properties", {}):
            return _Reply(_json(name_speakers(asked.messages[-1][1])))
        return _Reply(_json(_minimal(schema)))

    def _judged(self, asked: Asked) -> _Reply:
        """The verdict, or what has to be looked up before."""
        prompt = _step_prompt(asked)
        if not asked.tools:
            return self._verdict(prompt)
        calls = next_calls(prompt, asked) if asked.choice != "none" else ()
        if calls:
            return _Reply("", calls=calls)
        return self._verdict(with_transcript(prompt, asked))

    def _verdict(self, prompt: str) -> _Reply:
        verdict = audit_step(prompt)
        if self.options.gullible:
            obey(prompt, verdict)
        turns = spoken_turns(fenced(prompt, "transcript"))
        planted: list[Fabrication] = []
        for point in verdict["points_controle"]:
            dice = random.Random(f"{self.options.seed}:{_digest(prompt)}:{point['numero']}")
            if point["statut"] == "NON_APPLICABLE" or dice.random() >= self.options.fabricated_share:
                continue
            lie = fabricate(turns, dice)
            if lie is not None:
                planted.append(lie)
                _plant(point, lie)
        return _Reply(_json(verdict), planted=tuple(planted))

    def _billed(self, asked: Asked, exchange: Exchange, reply: _Reply) -> Answer:
        """Counts the tokens now; the bill and the cache entry are made when the answer has left."""
        prompt = asked.prompt
        answered = asked.tool is not None and not reply.calls and reply.kind != "refused"
        calls = (Call(asked.tool, reply.text),) if asked.tool is not None and answered else reply.calls
        answer = Answer(
            text=reply.text,
            calls=calls,
            input_tokens=tokens_in(prompt),
            cached_tokens=self._cache.cached_tokens(asked.cache_key, prompt),
            output_tokens=tokens_in("".join(call.arguments for call in calls) or reply.text),
            identifier=f"{exchange.subject}{random.getrandbits(32):08x}",
            kind="refused"
            if reply.kind == "refused"
            else "truncated"
            if reply.kind == "truncated"
            else "whole",
        )
        exchange.units = answer.output_tokens

        def left() -> None:
            self._cache.remember(asked.cache_key, prompt)
            self.usage["calls"] += 1
            self.usage["refusals"] += reply.kind == "refused"
            for name in ("input_tokens", "cached_tokens", "output_tokens"):
                self.usage[name] += getattr(answer, name)
            self.planted.update({quote.text: quote for quote in reply.planted})

        exchange.on_answered.append(left)
        return answer


def _refused(status: int, message: str, code: str | None) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)


def _wants_verdict(asked: Asked) -> bool:
    properties = (asked.schema or {}).get("properties", {})
    return "points_controle" in properties and bool(_step_prompt(asked))


def _step_prompt(asked: Asked) -> str:
    """The latest message that poses a step: after a failed answer, the conversation goes on behind it."""
    return next((text for role, text in reversed(asked.messages) if role == "user" and "<step>" in text), "")


def _plant(point: dict[str, Any], lie: Fabrication) -> None:
    """Adds the fabricated quote; a point with nothing to show claims to be met by it alone."""
    if not point["citations"]:
        point["statut"] = "PRESENT"
    point["citations"].append({"texte": lie.text, "enregistrement": lie.recording, "tour": lie.turn})


def _broken(reply: _Reply, breakage: str) -> _Reply:
    """The answer as a failing model gives it: no JSON, another shape, or cut short."""
    if breakage == "invalid_json":
        return _Reply("Voici l'analyse demandée :\n" + reply.text[:-2])
    if breakage == "wrong_schema":
        return _Reply(_json({"resultat": "conforme", "points_controle": "voir plus haut"}))
    return replace(reply, text=reply.text[: len(reply.text) // 2], kind="truncated", planted=(), calls=())


def _minimal(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """The emptiest value a JSON schema admits, for questions that are no audit step."""
    root = root or schema
    if "$ref" in schema:
        return _minimal(root.get("$defs", {})[schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return _minimal(schema["anyOf"][0], root)
    if schema.get("type") == "object":
        return {name: _minimal(inner, root) for name, inner in schema.get("properties", {}).items()}
    return {"array": [], "integer": 0, "number": 0, "boolean": False, "null": None}.get(
        schema.get("type", ""), ""
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
