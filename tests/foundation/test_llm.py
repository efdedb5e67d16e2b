"""The language model through its real adapter: what is asked, what comes back, what fails and what it costs."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, Literal

import httpx2
import pytest
from pydantic import BaseModel, SecretStr
from pydantic_ai.models import override_allow_model_requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.foundation.errors import Misconfigured
from conforme.foundation.llm import (
    Endpoint,
    LanguageModel,
    ModelError,
    ModelOutputInvalid,
    ModelRefused,
    ModelReply,
    ModelRequest,
    ModelUnavailable,
    UnconfiguredModel,
    Usage,
    missing_key,
    model_from,
)
from conforme.foundation.llm_pydantic_ai import model_on
from conforme.foundation.outbound import Outbound
from conforme.settings import Settings

KEY = "sk-invented-key-for-tests"
Protocol = Literal["openai", "openai-chat"]
BOTH: tuple[Protocol, ...] = ("openai", "openai-chat")


class Verdict(BaseModel):
    statut: Literal["PRESENT", "ABSENT"]
    score: int
    citations: list[str]


GOOD = json.dumps({"statut": "PRESENT", "score": 3, "citations": ["bonjour"]})
BAD = json.dumps({"statut": "PEUT-ETRE", "score": 3, "citations": []})


@pytest.fixture(autouse=True)
def model_requests_allowed() -> Generator[None]:
    """The adapter may ask: what it asks is an application in this process."""
    with override_allow_model_requests(True):
        yield


class StandIn:
    """An OpenAI-compatible server that gives its answers in turn and remembers what it was asked."""

    def __init__(self, *answers: str | Response) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        routes = [
            Route("/v1/responses", self.answer("responses"), methods=["POST"]),
            Route("/v1/chat/completions", self.answer("chat"), methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def answer(self, protocol: str) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            self.asked.append(json.loads(await request.body()))
            self.headers.append(dict(request.headers))
            given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(given, Response):
                return given
            return JSONResponse(responses_body(given) if protocol == "responses" else chat_body(given))

        return endpoint

    def model(
        self, provider: Protocol = "openai", *, name: str = "gpt-5.2", effort: str = "high"
    ) -> LanguageModel:
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), trust_env=False)
        return model_on(endpoint(provider, name), effort, client)


def endpoint(provider: str = "openai", name: str = "gpt-5.2") -> Endpoint:
    base = "http://model.example.test/v1"
    return Endpoint(provider, name, base, SecretStr(KEY), f"{provider.partition('-')[0].upper()}_API_KEY")


def responses_body(text: str, *, refusal: bool = False) -> dict[str, Any]:
    said = (
        {"type": "refusal", "refusal": text}
        if refusal
        else {"type": "output_text", "text": text, "annotations": []}
    )
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1767600000,
        "model": "gpt-5.2-2025-12-11",
        "status": "completed",
        "output": [
            {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [said]}
        ],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 800},
            "output_tokens": 50,
            "output_tokens_details": {"reasoning_tokens": 20},
            "total_tokens": 1050,
        },
    }


def chat_body(text: str, *, refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
    return {
        "id": "chat_1",
        "object": "chat.completion",
        "created": 1767600000,
        "model": "gpt-5.2",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "total_tokens": 1050,
            "prompt_tokens_details": {"cached_tokens": 800},
        },
    }


def question(**changes: Any) -> ModelRequest[Verdict]:
    return replace(ModelRequest(instructions="Judge.", prompt="The call.", output=Verdict), **changes)


async def failure(model: LanguageModel, **changes: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.ask(question(**changes))
    return caught.value


@pytest.mark.parametrize("provider", BOTH)
async def test_an_answer_comes_back_typed_with_its_usage(provider: Protocol) -> None:
    reply: ModelReply[Verdict] = await StandIn(GOOD).model(provider).ask(question())
    assert reply.output == Verdict(statut="PRESENT", score=3, citations=["bonjour"])
    assert reply.usage == Usage(prompt_tokens=1000, cached_tokens=800, output_tokens=50)
    assert (reply.provider, reply.model, reply.attempts) == (provider, "gpt-5.2", 1)
    assert reply.milliseconds >= 0
    assert reply.spent.usage == reply.usage


async def test_an_answer_of_openai_is_read_like_that_of_a_server_that_leaves_fields_out() -> None:
    """The library's types require `cache_write_tokens`, which compatible servers do not send."""
    whole = responses_body(GOOD)
    whole["usage"]["input_tokens_details"]["cache_write_tokens"] = 0
    partial = await StandIn(GOOD).model().ask(question())
    complete = await StandIn(JSONResponse(whole)).model().ask(question())
    assert (complete.output, complete.usage) == (partial.output, partial.usage)


async def test_the_responses_protocol_carries_schema_cache_key_and_effort_and_stores_nothing() -> None:
    server = StandIn(GOOD)
    await server.model().ask(question(cache_key="audit-7"))
    (asked,) = server.asked
    shape = asked["text"]["format"]
    assert (shape["type"], shape["strict"]) == ("json_schema", True)
    assert shape["schema"]["required"] == ["statut", "score", "citations"]
    assert shape["schema"]["additionalProperties"] is False
    assert asked["prompt_cache_key"] == "audit-7"
    assert asked["reasoning"]["effort"] == "high"
    assert asked["store"] is False
    assert "temperature" not in asked
    assert asked["instructions"] == "Judge."
    assert asked["input"][-1]["content"] == "The call."
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_the_chat_protocol_carries_schema_and_cache_key() -> None:
    server = StandIn(GOOD)
    await server.model("openai-chat", name="gpt-4.1").ask(question(cache_key="audit-7"))
    (asked,) = server.asked
    assert asked["response_format"]["json_schema"]["strict"] is True
    assert asked["prompt_cache_key"] == "audit-7"
    assert asked["temperature"] == 0.0
    assert "reasoning_effort" not in asked
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("name", "effort", "temperature"),
    [("gpt-5.2", "none", 0.0), ("gpt-4.1", "high", 0.0), ("gpt-5", "none", None), ("o3", "low", None)],
)
async def test_temperature_is_zero_where_the_model_takes_one(
    name: str, effort: str, temperature: float | None
) -> None:
    server = StandIn(GOOD)
    await server.model(name=name, effort=effort).ask(question())
    assert server.asked[0].get("temperature") == temperature


async def test_a_request_may_name_another_model() -> None:
    server = StandIn(GOOD)
    reply = await server.model().ask(question(model="gpt-5-mini"))
    assert (server.asked[0]["model"], reply.model) == ("gpt-5-mini", "gpt-5-mini")


async def test_the_same_prompt_is_sent_as_the_same_bytes_whatever_is_asked_in_between() -> None:
    server = StandIn(GOOD)
    model = server.model()
    for prompt in ("one", "two", "one"):
        await model.ask(question(prompt=prompt))
    assert server.asked[0] == server.asked[2]


@pytest.mark.parametrize("provider", BOTH)
@pytest.mark.parametrize("first", [BAD, "not json", "", "{", "[]", GOOD[:-1]])
async def test_an_answer_that_does_not_fit_is_repaired_once(provider: Protocol, first: str) -> None:
    server = StandIn(first, GOOD)
    reply = await server.model(provider).ask(question())
    assert (reply.output.score, reply.attempts) == (3, 2)
    assert reply.usage == Usage(2000, 1600, 100)
    assert "does not fit the schema" in json.dumps(server.asked[1])


async def test_the_repair_says_what_was_wrong_and_keeps_the_first_question_in_front() -> None:
    server = StandIn(BAD, GOOD)
    await server.model().ask(question())
    first, second = (asked["input"] for asked in server.asked)
    assert second[: len(first)] == first
    assert "statut: Input should be 'PRESENT' or 'ABSENT'" in json.dumps(second[-1])


@pytest.mark.parametrize("provider", BOTH)
async def test_a_second_misfit_fails_and_bills_both_attempts(provider: Protocol) -> None:
    server = StandIn(BAD)
    error = await failure(server.model(provider))
    assert isinstance(error, ModelOutputInvalid)
    assert not error.retryable
    assert len(server.asked) == 2
    assert error.spent is not None
    assert (error.spent.usage, error.spent.attempts) == (Usage(2000, 1600, 100), 2)


async def test_an_outage_during_the_repair_bills_the_first_attempt() -> None:
    error = await failure(StandIn(BAD, JSONResponse({"error": {"message": "x"}}, 500)).model())
    assert isinstance(error, ModelUnavailable)
    assert error.spent is not None
    assert (error.spent.usage, error.spent.attempts) == (Usage(1000, 800, 50), 1)


@pytest.mark.parametrize("text", [f"```json\n{GOOD}\n```", f"  {GOOD}\n", f"```\n{GOOD}\n```\n"])
async def test_a_fenced_answer_needs_no_repair(text: str) -> None:
    assert (await StandIn(text).model().ask(question())).attempts == 1


async def test_a_nul_in_an_answer_is_left_out() -> None:
    text = json.dumps({"statut": "PRESENT", "score": 1, "citations": ["bon\x00jour", "\\u0000"]})
    reply = await StandIn(text).model().ask(question())
    assert reply.output.citations == ["bonjour", "\\u0000"]


@pytest.mark.parametrize("provider", BOTH)
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_an_outage_is_worth_another_try_and_sent_only_once(provider: Protocol, status: int) -> None:
    server = StandIn(JSONResponse({"error": {"message": "try later", "code": "rate_limit_exceeded"}}, status))
    error = await failure(server.model(provider))
    assert isinstance(error, ModelUnavailable)
    assert error.retryable
    assert error.spent is None
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("0.4", 0.4), ("999999", 3600.0), ("soon", None)]
)
async def test_the_wait_the_provider_asks_for_is_passed_on(value: str, seconds: float | None) -> None:
    answer = JSONResponse({"error": {"message": "slow down"}}, 429, headers={"retry-after": value})
    assert (await failure(StandIn(answer).model())).retry_after == seconds


@pytest.mark.parametrize("provider", BOTH)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_a_refused_request_is_not_worth_another_try(provider: Protocol, status: int) -> None:
    body = {"error": {"message": f"Incorrect key {KEY}; prompt was The call.", "code": "invalid_api_key"}}
    error = await failure(StandIn(JSONResponse(body, status)).model(provider))
    assert isinstance(error, ModelRefused)
    assert f"status={status}" in error.message
    assert KEY not in str(error)
    assert "The call." not in str(error)


async def test_a_bad_key_names_its_setting() -> None:
    body = {"error": {"message": "no", "code": "invalid_api_key"}}
    assert "check OPENAI_API_KEY" in (await failure(StandIn(JSONResponse(body, 401)).model())).message


async def test_an_exhausted_quota_is_not_worth_another_try() -> None:
    body = {"error": {"message": "no", "code": "insufficient_quota", "type": "insufficient_quota"}}
    assert isinstance(await failure(StandIn(JSONResponse(body, 429)).model()), ModelRefused)


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("openai", responses_body("I cannot help with that", refusal=True)),
        ("openai-chat", chat_body("", refusal="I cannot help with that")),
    ],
)
async def test_a_content_refusal_is_final_and_billed(provider: Protocol, body: dict[str, Any]) -> None:
    error = await failure(StandIn(JSONResponse(body)).model(provider))
    assert isinstance(error, ModelRefused)
    assert "content refused" in error.message
    assert error.spent is not None
    assert error.spent.usage.prompt_tokens == 1000


@pytest.mark.parametrize("provider", BOTH)
@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>busy</html>", media_type="text/html"),
        Response("", media_type="application/json"),
        Response("{", media_type="application/json"),
        JSONResponse([]),
        JSONResponse({}),
        JSONResponse({"choices": None, "output": None}),
        JSONResponse({"choices": [], "output": [{"type": "message"}]}),
    ],
    ids=["html", "empty", "cut", "list", "object", "null", "odd"],
)
async def test_an_answer_that_is_not_of_the_protocol_fails_without_a_crash(
    provider: Protocol, answer: Response
) -> None:
    error = await failure(StandIn(answer).model(provider))
    assert isinstance(error, (ModelUnavailable, ModelOutputInvalid))


async def test_a_server_that_cannot_be_reached_is_worth_another_try() -> None:
    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route", request=request)

    model = model_on(endpoint(), "high", httpx2.AsyncClient(transport=httpx2.MockTransport(broken)))
    error = await failure(model)
    assert isinstance(error, ModelUnavailable)
    assert "no answer" in error.message


async def test_a_server_that_does_not_answer_in_time_is_worth_another_try() -> None:
    def slow(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("slow", request=request)

    model = model_on(endpoint(), "high", httpx2.AsyncClient(transport=httpx2.MockTransport(slow)))
    error = await failure(model)
    assert isinstance(error, ModelUnavailable)
    assert "timed out" in error.message


async def test_questions_asked_together_get_their_own_answers() -> None:
    async def echo(request: Request) -> Response:
        asked = json.loads(await request.body())
        number = int(asked["input"][-1]["content"])
        await asyncio.sleep(0)
        return JSONResponse(
            responses_body(json.dumps({"statut": "ABSENT", "score": number, "citations": []}))
        )

    app = Starlette(routes=[Route("/v1/responses", echo, methods=["POST"])])
    model = model_on(endpoint(), "high", httpx2.AsyncClient(transport=httpx2.ASGITransport(app)))
    replies = await asyncio.gather(*(model.ask(question(prompt=str(number))) for number in range(30)))
    assert [reply.output.score for reply in replies] == list(range(30))


async def test_cancelling_a_question_reaches_the_call_in_flight() -> None:
    begun = asyncio.Event()

    async def never(request: httpx2.Request) -> httpx2.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError(request)

    model = model_on(endpoint(), "high", httpx2.AsyncClient(transport=httpx2.MockTransport(never)))
    asking = asyncio.create_task(model.ask(question()))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


ANTHROPIC_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": GOOD}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 200,
        "cache_read_input_tokens": 700,
        "cache_creation_input_tokens": 100,
        "output_tokens": 50,
    },
}
GOOGLE_ANSWER = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": GOOD}]}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 800,
        "candidatesTokenCount": 50,
        "totalTokenCount": 1050,
    },
    "modelVersion": "gemini-2.5-flash",
}
MISTRAL_ANSWER = {
    "id": "m1",
    "object": "chat.completion",
    "created": 1767600000,
    "model": "mistral-small-latest",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": GOOD}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050},
}
OTHERS = {
    "anthropic": ("claude-sonnet-5", ANTHROPIC_ANSWER, Usage(1000, 700, 50)),
    "google": ("gemini-2.5-flash", GOOGLE_ANSWER, Usage(1000, 800, 50)),
    "mistral": ("mistral-small-latest", MISTRAL_ANSWER, Usage(1000, 0, 50)),
}


def other(
    provider: str, seen: list[httpx2.Request], *answers: httpx2.Response, effort: str = "none"
) -> LanguageModel:
    queue = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return queue.pop(0) if len(queue) > 1 else queue[0]

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer), timeout=60)
    where = Endpoint(
        provider,
        OTHERS[provider][0],
        "https://model.example.test",
        SecretStr(KEY),
        f"{provider.upper()}_API_KEY",
    )
    return model_on(where, effort, client)


@pytest.mark.parametrize("provider", OTHERS)
async def test_the_other_providers_answer_typed_with_their_usage(provider: str) -> None:
    name, body, usage = OTHERS[provider]
    seen: list[httpx2.Request] = []
    reply = await other(provider, seen, httpx2.Response(200, json=body)).ask(question(cache_key="audit-7"))
    assert reply.output.score == 3
    assert (reply.provider, reply.model, reply.usage) == (provider, name, usage)
    assert len(seen) == 1
    assert seen[0].url.host == "model.example.test"


@pytest.mark.parametrize("provider", OTHERS)
@pytest.mark.parametrize(
    ("status", "kind"), [(429, ModelUnavailable), (503, ModelUnavailable), (401, ModelRefused)]
)
async def test_the_other_providers_fail_in_the_same_words_and_are_asked_once(
    provider: str, status: int, kind: type[ModelError]
) -> None:
    seen: list[httpx2.Request] = []
    body = {"error": {"message": f"key {KEY}", "code": status, "type": "x", "status": "X"}}
    refused = httpx2.Response(status, json=body, headers={"retry-after": "7"})
    error = await failure(other(provider, seen, refused))
    assert type(error) is kind
    assert error.retry_after == (7.0 if kind is ModelUnavailable else None)
    assert KEY not in str(error)
    assert len(seen) == 1


@pytest.mark.parametrize("provider", OTHERS)
@pytest.mark.parametrize("effort", ["none", "high"])
async def test_the_other_providers_take_temperature_or_reasoning_without_a_warning(
    provider: str, effort: str
) -> None:
    seen: list[httpx2.Request] = []
    await other(provider, seen, httpx2.Response(200, json=OTHERS[provider][1]), effort=effort).ask(question())
    text = seen[0].content.decode()
    assert ("temperature" in text) == (effort == "none" and provider != "anthropic")
    assert effort == "none" or re.search("thinking|effort", text)


async def test_anthropic_gets_its_cache_marker_after_the_shared_beginning() -> None:
    seen: list[httpx2.Request] = []
    model = other("anthropic", seen, httpx2.Response(200, json=ANTHROPIC_ANSWER))
    await model.ask(question(prompt="shared|own", shared_chars=7))
    content = json.loads(seen[0].content)["messages"][0]["content"]
    assert [part["text"] for part in content] == ["shared|", "own"]
    assert "cache_control" in content[0]
    assert "cache_control" not in content[1]


async def test_without_a_key_a_question_says_which_setting_is_missing() -> None:
    for provider, setting in {"openai": "OPENAI_API_KEY", "mistral": "MISTRAL_API_KEY"}.items():
        settings = Settings(llm_provider=provider)  # pyright: ignore[reportArgumentType]
        model = model_from(settings, Outbound(settings))
        assert isinstance(model, UnconfiguredModel)
        with pytest.raises(Misconfigured, match=setting):
            await model.ask(question())


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (Settings(openai_api_key=SecretStr("k")), None),
        (Settings(llm_base_url="http://127.0.0.1:1/v1"), None),
        (Settings(openai_base_url="http://127.0.0.1:1/v1"), None),
        (Settings(llm_provider="google", openai_base_url="http://127.0.0.1:1/v1"), "GOOGLE_API_KEY"),
        (Settings(), "OPENAI_API_KEY"),
    ],
)
def test_a_server_of_ones_own_needs_no_key(settings: Settings, missing: str | None) -> None:
    assert missing_key(settings) == missing


def imports_after(statements: Sequence[str]) -> str:
    code = "; ".join(
        [*statements, "import sys", "print('pydantic_ai' in sys.modules, 'openai' in sys.modules)"]
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_port_does_not_load_a_providers_library_before_a_question() -> None:
    statements = [
        "from conforme.foundation import llm, ledger, outbound, logging",
        "from conforme.settings import Settings",
        "settings = Settings(openai_api_key='k')",
        "model = llm.model_from(settings, outbound.Outbound(settings))",
    ]
    assert imports_after(statements) == "False False"
    assert imports_after([*statements, "model.warm_up()"]) == "True True"
