"""The language-model port on pydantic-ai: OpenAI (Responses, Chat and compatible servers), Anthropic, Google, Mistral.

Importing this module takes seconds; `foundation.llm` does it at the first question. One request is sent per attempt:
the provider libraries' own retries are off (the engine retries), and so are instrumentation and storage of prompts
at the provider, because a transcript is personal data.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, NoReturn

import httpx2
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_ai import messages as ai
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRequestRejectedError,
    UserError,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings, ToolChoice
from pydantic_ai.tools import ToolDefinition

from conforme.foundation.database import now
from conforme.foundation.errors import Misconfigured
from conforme.foundation.llm import (
    Consultation,
    Endpoint,
    Exchange,
    ModelOutputInvalid,
    ModelRefused,
    ModelReply,
    ModelRequest,
    ModelUnavailable,
    Spent,
    T,
    Tool,
    ToolCall,
    ToolUse,
    Usage,
    endpoint_of,
)
from conforme.foundation.outbound import (
    MAX_RETRY_AFTER_SECONDS,
    Outbound,
    is_retryable,
    retry_after_seconds,
)
from conforme.settings import Settings

ATTEMPTS = 2
"""The question, and one repair of an answer that does not fit."""

ANTHROPIC_MAX_TOKENS = 16_384
"""Reasoning and answer together."""

KEPT_SCHEMAS = 16

ANSWER_MAX_BYTES = 8 * 1024 * 1024

_OUTPUT_TOOL = "answer"
_MAX_COMPLAINTS = 20
_NO_KEY = "none"
_CODE = re.compile(r"[a-z][a-z0-9_.-]{0,60}", re.ASCII)
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class PydanticAiModel:
    """A `LanguageModel`; one HTTP client, and one adapter per model name, for the life of the process."""

    def __init__(self, endpoint: Endpoint, effort: str, make: Callable[[str], Model]) -> None:
        self.name = endpoint.model
        self.provider = endpoint.provider
        self._endpoint = endpoint
        self._effort = effort
        self._model = lru_cache(maxsize=32)(lambda name: _bending_once(make(name)))

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:
        """Asks, and once more when the answer does not fit the schema; see `LanguageModel.ask`."""
        name = request.model or self.name
        model = self._model(name)
        question = _Question(self._endpoint, name, model, self._settings(model, request), request)
        return await question.answered()

    async def consult(self, request: Consultation[T]) -> ModelReply[T] | ToolUse:
        """The next message of a dialogue with tools; see `LanguageModel.consult`."""
        name = request.model or self.name
        model = self._model(name)
        settings = self._settings(model, request)
        if choice := self._choice(model, request):
            settings["tool_choice"] = choice
        return await _Dialogue(
            self._endpoint, name, model, settings, request, consultation=request
        ).continued()

    def _choice(self, model: Model, request: Consultation[Any]) -> ToolChoice:
        """What may be chosen, as far as the provider can be told; what it does instead is repaired."""
        if request.choice == "answer":
            return "none"
        # Anthropic forces no tool on a model that thinks.
        forced = request.choice == "look" and (self.provider != "anthropic" or self._effort == "none")
        return "required" if forced and model.profile.get("supports_tools", True) else None

    def _settings(self, model: Model, request: ModelRequest[Any]) -> ModelSettings:
        settings: dict[str, Any] = {"thinking": False if self._effort == "none" else self._effort}
        if _takes_temperature(model, self._effort):
            settings["temperature"] = 0.0
        if self.provider == "anthropic":
            # Its API asks for a bound; above about 20 000 tokens its library would stream the answer.
            settings["max_tokens"] = ANTHROPIC_MAX_TOKENS
        if self.provider.startswith("openai"):
            settings["openai_store"] = False
            if request.cache_key:
                settings["openai_prompt_cache_key"] = request.cache_key
        return ModelSettings(**settings)


def open_model(settings: Settings, outbound: Outbound) -> PydanticAiModel:
    """The configured model on a guarded client. Raises `Misconfigured` when its provider's library is missing."""
    client = outbound.provider(timeout=settings.llm_timeout_seconds, max_bytes=ANSWER_MAX_BYTES)
    return model_on(endpoint_of(settings), settings.llm_reasoning_effort, client)


def model_on(endpoint: Endpoint, effort: str, client: httpx2.AsyncClient) -> PydanticAiModel:
    try:
        make = _FACTORIES[endpoint.provider](endpoint, client)
    except ImportError:
        raise Misconfigured(
            f"LLM_PROVIDER={endpoint.provider} needs the extra conforme[{endpoint.provider}]",
            field="LLM_PROVIDER",
        ) from None
    return PydanticAiModel(endpoint, effort, make)


@dataclass
class _Question(Generic[T]):
    """One question and its repair, and what both spent."""

    endpoint: Endpoint
    name: str
    model: Model
    settings: ModelSettings
    request: ModelRequest[T]
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    attempts: int = 0

    async def answered(self) -> ModelReply[T]:
        history = self._opening()
        for _ in range(ATTEMPTS):
            response = await self._sent(history)
            read = self._reply(response)
            if isinstance(read, ModelReply):
                return read
            history += [response, _repair(response, read)]
        raise self._invalid()

    def _opening(self) -> list[ai.ModelMessage]:
        return [
            ai.ModelRequest(
                parts=[ai.UserPromptPart(self._content())], instructions=self.request.instructions or None
            )
        ]

    def _reply(self, response: ai.ModelResponse) -> "ModelReply[T] | _Complaints":
        """The answer, or what is wrong with it."""
        try:
            output = self.request.output.model_validate_json(_json_of(response))
        except ValidationError as error:
            return _misfit(error)
        spent = self.spent()
        return ModelReply(
            output, spent.usage, spent.provider, spent.model, spent.milliseconds, spent.attempts
        )

    def _invalid(self) -> ModelOutputInvalid:
        return ModelOutputInvalid(self._says(f"no valid answer in {ATTEMPTS} attempts"), spent=self.spent())

    def spent(self) -> Spent:
        return Spent(self.usage, self.endpoint.provider, self.name, round(self.seconds * 1000), self.attempts)

    def _content(self) -> str | list[ai.UserContent]:
        shared = self.request.shared_chars
        if self.endpoint.provider != "anthropic" or not 0 < shared < len(self.request.prompt):
            return self.request.prompt
        return [self.request.prompt[:shared], ai.CachePoint(), self.request.prompt[shared:]]

    async def _sent(self, history: list[ai.ModelMessage]) -> ai.ModelResponse:
        begun = time.monotonic()
        try:
            response = await model_request(
                self.model,
                history,
                model_settings=self.settings,
                model_request_parameters=_parameters(self.request.output, self._mode(), self._tools()),
                instrument=False,
            )
        except Exception as error:  # noqa: BLE001 -- a malformed answer breaks the libraries in ways they do not name
            self._fail(error)
        finally:
            self.seconds += time.monotonic() - begun
        self.attempts += 1
        self.usage += _usage(response)
        if response.finish_reason == "content_filter":
            raise ModelRefused(self._says("content refused"), spent=self.spent())
        return response

    def _tools(self) -> tuple[Tool, ...]:
        return ()

    def _mode(self) -> str:
        if self.model.profile.get("supports_json_schema_output", False):
            return "native"
        return "tool" if self.model.profile.get("supports_tools", True) else "prompted"

    def _fail(self, error: Exception) -> NoReturn:
        """Raises what `error` means to us. Its text is dropped: a provider quotes the prompt, even the key, in it."""
        spent = self.spent() if self.attempts else None
        reason = self._says(_reason(error, self.endpoint.key_setting))
        if _is_permanent(error):
            raise ModelRefused(reason, spent=spent) from None
        raise ModelUnavailable(reason, retry_after=_wait(error), spent=spent) from None

    def _says(self, reason: str) -> str:
        return f"Language model {self.name} ({self.endpoint.provider}): {reason}"


@dataclass
class _Dialogue(_Question[T]):
    """A question with tools: its next message is an answer or asks for something."""

    consultation: Consultation[T] = field(kw_only=True)

    async def continued(self) -> ModelReply[T] | ToolUse:
        history = self._opening()
        for exchange in self.consultation.exchanges:
            history += _exchanged(exchange)
        for _ in range(ATTEMPTS):
            response = await self._sent(history)
            read = self._read(response)
            if not isinstance(read, _Complaints):
                return read
            history += [response, _repair(response, read)]
        raise self._invalid()

    def _read(self, response: ai.ModelResponse) -> "ModelReply[T] | ToolUse | _Complaints":
        calls = _calls(response)
        if calls and self.consultation.choice == "answer":
            return _Complaints("Nothing more can be looked up.", (), "Answer now with what you have.")
        if calls:
            message = _MESSAGES.dump_json([response]).decode()
            return ToolUse(calls, message, self.spent())
        if self.consultation.choice == "look":
            return _Complaints("Nothing was looked up.", (), "Call a tool before you answer.")
        return self._reply(response)

    def _tools(self) -> tuple[Tool, ...]:
        return self.consultation.tools


_MESSAGES = ai.ModelMessagesTypeAdapter


def _calls(response: ai.ModelResponse) -> tuple[ToolCall, ...]:
    """What is asked for; an answer given as the call of a tool is none of it."""
    parts = (part for part in response.parts if isinstance(part, ai.ToolCallPart))
    return tuple(
        ToolCall(part.tool_call_id, part.tool_name, _ESCAPED_NUL.sub(r"\1", part.args_as_json_str()))
        for part in parts
        if part.tool_name != _OUTPUT_TOOL
    )


def _exchanged(exchange: Exchange) -> list[ai.ModelMessage]:
    """The provider's message, and an answer to each call in it: none may be left open."""
    [response] = _MESSAGES.validate_json(exchange.message)
    told = {call.id: text for call, text in exchange.results}
    parts = [part for part in response.parts if isinstance(part, ai.ToolCallPart)]
    answers = [
        ai.ToolReturnPart(part.tool_name, told.get(part.tool_call_id, "{}"), part.tool_call_id)
        for part in parts
    ]
    return [response, ai.ModelRequest(parts=answers)]


def _bending_once(model: Model) -> Model:
    """The model, bending the schema of an answer to its provider's dialect once and not for every question."""
    bend = model.customize_request_parameters
    bent: deque[tuple[ModelRequestParameters, ModelRequestParameters]] = deque(maxlen=KEPT_SCHEMAS)

    def customized(asked: ModelRequestParameters) -> ModelRequestParameters:
        for known, done in bent:
            if known == asked:
                return done
        bent.append((asked, bend(asked)))
        return bent[-1][1]

    vars(model)["customize_request_parameters"] = customized
    return model


def _takes_temperature(model: Model, effort: str) -> bool:
    """A model that reasons, or chooses for itself, refuses sampling settings."""
    profile: Mapping[str, Any] = model.profile
    reasons = effort != "none" and profile.get("supports_thinking", False)
    fixed = profile.get("thinking_always_enabled", False) or profile.get(
        "anthropic_disallows_sampling_settings", False
    )
    return not (reasons or fixed)


def _wait(error: Exception) -> float | None:
    """Seconds the provider asked for; the library reads no fraction of one, we do."""
    asked = getattr(error, "retry_after", None)
    if asked is None and isinstance(error, ModelHTTPError) and error.headers is not None:
        return retry_after_seconds(error.headers, now())
    return None if asked is None else min(max(float(asked), 0.0), MAX_RETRY_AFTER_SECONDS)


def _is_permanent(error: Exception) -> bool:
    if isinstance(error, (ModelQuotaExceededError, ContentFilterError, UserError)):
        return True
    if isinstance(error, ModelHTTPError):
        return not is_retryable(error.status_code) and error.status_code != 409
    return isinstance(error, ModelRequestRejectedError)


def _reason(error: Exception, key_setting: str) -> str:
    if isinstance(error, ModelHTTPError):
        code = error.provider_error_code or error.provider_error_type or ""
        named = f" code={code}" if _CODE.fullmatch(str(code)) else ""
        hint = f" (check {key_setting})" if isinstance(error, ModelAuthenticationError) else ""
        return f"status={error.status_code}{named}{hint}"
    if isinstance(error, ContentFilterError):
        return "content refused"
    if isinstance(error, UserError):
        return "cannot be asked in this way"
    if isinstance(error, (ModelAPIError, httpx2.HTTPError)):
        return "timed out" if "Timeout" in type(error).__name__ else "no answer"
    return f"answer not understood ({type(error).__name__})"


class _Untitled(GenerateJsonSchema):
    """A field's title says its name again: tokens to pay and nodes to copy with every question."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


@lru_cache(maxsize=64)
def _parameters(output: type[BaseModel], mode: Any, tools: tuple[Tool, ...] = ()) -> ModelRequestParameters:
    """How the answer's schema is asked for; the provider's profile then bends it to its dialect."""
    schema = output.model_json_schema(schema_generator=_Untitled)
    functions = [_function(tool) for tool in tools]
    if mode == "tool":
        tool = ToolDefinition(
            name=_OUTPUT_TOOL,
            parameters_json_schema=schema,
            description="Gives the answer.",
            kind="output",
            strict=True,
        )
        return ModelRequestParameters(
            output_mode="tool", output_tools=[tool], function_tools=functions, allow_text_output=False
        )
    shape = OutputObjectDefinition(json_schema=schema, name=output.__name__, strict=True)
    return ModelRequestParameters(
        output_mode=mode, output_object=shape, function_tools=functions, allow_text_output=True
    )


def _function(tool: Tool) -> ToolDefinition:
    schema = tool.arguments.model_json_schema(schema_generator=_Untitled)
    return ToolDefinition(
        name=tool.name, parameters_json_schema=schema, description=tool.description, strict=True
    )


def _json_of(response: ai.ModelResponse) -> str:
    """The JSON text of an answer, without a Markdown fence, and without NUL, which PostgreSQL stores nowhere."""
    call = next((part for part in response.parts if isinstance(part, ai.ToolCallPart)), None)
    text = call.args_as_json_str() if call else (response.text or "")
    fenced = _FENCE.match(text)
    return _ESCAPED_NUL.sub(r"\1", fenced[1] if fenced else text)


@dataclass(frozen=True)
class _Complaints:
    """What is wrong with a message, and what to do instead."""

    about: str
    lines: Sequence[str]
    instead: str

    def __str__(self) -> str:
        return "\n".join([self.about, *(f"- {line}" for line in self.lines), self.instead])


def _misfit(error: ValidationError) -> _Complaints:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in found[:_MAX_COMPLAINTS]]
    again = "Give the whole answer again, corrected, as JSON and nothing else."
    return _Complaints("The answer does not fit the schema:", lines, again)


def _repair(response: ai.ModelResponse, complaints: _Complaints) -> ai.ModelRequest:
    text = str(complaints)
    calls = [part for part in response.parts if isinstance(part, ai.ToolCallPart)]
    if not calls:
        return ai.ModelRequest(parts=[ai.UserPromptPart(text)])
    return ai.ModelRequest(
        parts=[ai.ToolReturnPart(part.tool_name, text, part.tool_call_id) for part in calls]
    )


def _usage(response: ai.ModelResponse) -> Usage:
    counted = response.usage
    prompt = max(counted.input_tokens, 0)
    return Usage(prompt, min(max(counted.cache_read_tokens, 0), prompt), max(counted.output_tokens, 0))


def _key(endpoint: Endpoint) -> str:
    return endpoint.key.get_secret_value() if endpoint.key else _NO_KEY


def _openai(endpoint: Endpoint, client: httpx2.AsyncClient) -> Callable[[str], Model]:
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from conforme.foundation.llm_openai import PlainOpenAI

    speaker = PlainOpenAI(
        api_key=_key(endpoint), base_url=endpoint.base_url, http_client=client, max_retries=0
    )
    provider = OpenAIProvider(openai_client=speaker)
    if endpoint.provider == "openai-chat":
        return lambda name: OpenAIChatModel(name, provider=provider)
    return lambda name: OpenAIResponsesModel(name, provider=provider)


def _anthropic(endpoint: Endpoint, client: httpx2.AsyncClient) -> Callable[[str], Model]:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    speaker = AsyncAnthropic(
        api_key=_key(endpoint), base_url=endpoint.base_url, http_client=client, max_retries=0
    )
    provider = AnthropicProvider(anthropic_client=speaker)
    return lambda name: AnthropicModel(name, provider=provider)


def _google(endpoint: Endpoint, client: httpx2.AsyncClient) -> Callable[[str], Model]:
    from google.genai.types import HttpRetryOptions
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    once = HttpRetryOptions(attempts=1)
    provider = GoogleProvider(
        api_key=_key(endpoint), base_url=endpoint.base_url, http_client=client, retry_options=once
    )
    return lambda name: GoogleModel(name, provider=provider)


def _mistral(endpoint: Endpoint, client: httpx2.AsyncClient) -> Callable[[str], Model]:
    from pydantic_ai.models.mistral import MistralModel
    from pydantic_ai.providers.mistral import MistralProvider

    provider = MistralProvider(api_key=_key(endpoint), base_url=endpoint.base_url, http_client=client)
    return lambda name: MistralModel(name, provider=provider)


_FACTORIES: dict[str, Callable[[Endpoint, httpx2.AsyncClient], Callable[[str], Model]]] = {
    "openai": _openai,
    "openai-chat": _openai,
    "anthropic": _anthropic,
    "google": _google,
    "mistral": _mistral,
}
