"""The language-model port: one typed question, one typed answer, and what it cost; with look-ups in between if wanted.

ModelError (External)       502, carries what was spent before it failed
├── ModelUnavailable        worth asking again, after `retry_after` seconds when the provider said so
├── ModelRefused            asking again gives the same answer: bad key, bad request, content refused
└── ModelOutputInvalid      the answer did not fit the schema, nor did its one repair

Nothing here imports a provider's library: the adapter is loaded at the first question or by `warm_up`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, SecretStr

from conforme.foundation.errors import External, Misconfigured
from conforme.settings import Settings

if TYPE_CHECKING:
    from conforme.foundation.outbound import Outbound

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ModelRequest(Generic[T]):
    """One question. Stable bytes come first in `prompt`, so that the provider's prefix cache can serve them."""

    instructions: str
    prompt: str
    output: type[T]
    """Schema of the answer: flat, no unions, all fields required."""
    cache_key: str | None = None
    """Requests that share a prefix share this key; it routes them to the same cache."""
    model: str | None = None
    """Another model of the same provider than the configured one."""
    shared_chars: int = 0
    """How many first characters of `prompt` are the same in all requests of this `cache_key`; 0 when unknown.

    A provider that caches only up to a marker (Anthropic) gets it there.
    """


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls; `cached_tokens` is the part of `prompt_tokens` read from the provider's cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Spent:
    """What a question cost, answered or not."""

    usage: Usage
    provider: str
    model: str
    milliseconds: int
    attempts: int
    """Calls that reached the provider: 1, or 2 with the repair."""


@dataclass(frozen=True, slots=True)
class ModelReply(Generic[T]):
    output: T
    usage: Usage
    provider: str
    model: str
    milliseconds: int
    attempts: int

    @property
    def spent(self) -> Spent:
        return Spent(self.usage, self.provider, self.model, self.milliseconds, self.attempts)


# Looking things up before answering


@dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may ask for before it answers."""

    name: str
    description: str
    arguments: type[BaseModel]
    """Schema of what it is asked with: flat, all fields required."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One thing the model asks for; `arguments` is the JSON it wrote, which may not fit the schema."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The model asks for something instead of answering."""

    calls: tuple[ToolCall, ...]
    message: str
    """The provider's message as JSON, opaque: given back unchanged, today or after a crash."""
    spent: Spent


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the model asked for in one message, and what it was told."""

    message: str
    results: tuple[tuple[ToolCall, str], ...]


Choice = Literal["free", "look", "answer"]
"""`look`: the model must ask for something; `answer`: it must answer now."""


@dataclass(frozen=True, slots=True)
class Consultation(ModelRequest[T]):
    """One question, what was looked up so far, and what may be looked up next."""

    tools: tuple[Tool, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    choice: Choice = "free"


class LanguageModel(Protocol):
    """Answers typed questions. Safe to ask concurrently; never retries (that is the engine's)."""

    @property
    def name(self) -> str:
        """The model asked when a request names none."""
        ...

    @property
    def provider(self) -> str: ...

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:
        """Raises `ModelUnavailable`, `ModelRefused`, `ModelOutputInvalid` or `Misconfigured`."""
        ...

    async def consult(self, request: Consultation[T]) -> ModelReply[T] | ToolUse:
        """The next message of a dialogue with tools: one request to the provider, or two with the repair.

        The caller answers the calls and asks again with one `Exchange` more. Raises what `ask` raises.
        """
        ...


class ModelError(External):
    """Language model failed"""

    def __init__(
        self,
        message: str | None = None,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        spent: Spent | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable, retry_after=retry_after)
        self.spent = spent
        """Tokens to bill although there is no answer; None when nothing was answered at all."""


class ModelUnavailable(ModelError):
    """Language model unavailable"""

    def __init__(
        self, message: str | None = None, *, retry_after: float | None = None, spent: Spent | None = None
    ) -> None:
        super().__init__(message, retryable=True, retry_after=retry_after, spent=spent)


class ModelRefused(ModelError):
    """Language model refused the request"""

    def __init__(self, message: str | None = None, *, spent: Spent | None = None) -> None:
        super().__init__(message, spent=spent)


class ModelOutputInvalid(ModelError):
    """Language model gave no valid answer"""

    def __init__(self, message: str | None = None, *, spent: Spent | None = None) -> None:
        super().__init__(message, spent=spent)


KEY_SETTINGS = {
    "openai": "OPENAI_API_KEY",
    "openai-chat": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GOOGLE_API_KEY",
    "mistral": "MISTRAL_API_KEY",
}
"""Which setting holds the key of each value of `LLM_PROVIDER`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how the configured provider is spoken to."""

    provider: str
    model: str
    base_url: str | None
    """None is the provider's own address."""
    key: SecretStr | None
    key_setting: str


def endpoint_of(settings: Settings) -> Endpoint:
    keys = {
        "openai": settings.openai_api_key,
        "openai-chat": settings.openai_api_key,
        "anthropic": settings.anthropic_api_key,
        "google": settings.google_api_key,
        "mistral": settings.mistral_api_key,
    }
    provider = settings.llm_provider
    compatible = settings.openai_base_url if provider.startswith("openai") else None
    return Endpoint(
        provider=provider,
        model=settings.openai_model_audit,
        base_url=compatible or settings.llm_base_url,
        key=keys[provider],
        key_setting=KEY_SETTINGS[provider],
    )


def missing_key(settings: Settings) -> str | None:
    """Name of the setting without which no question can be asked, or None.

    A server of one's own (a base URL is set) may need no key.
    """
    endpoint = endpoint_of(settings)
    return None if endpoint.key or endpoint.base_url else endpoint.key_setting


class UnconfiguredModel:
    """Stands where no key is set: every question says which setting is missing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.model
        self.provider = endpoint.provider
        self._key_setting = endpoint.key_setting

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:  # noqa: ARG002 -- the port's signature
        raise self._lacking()

    async def consult(self, request: Consultation[T]) -> ModelReply[T] | ToolUse:  # noqa: ARG002 -- the port's signature
        raise self._lacking()

    def _lacking(self) -> Misconfigured:
        return Misconfigured(
            f"No language model is configured: set {self._key_setting}", field=self._key_setting
        )


class LazyModel:
    """Loads the provider's library at the first question: its import takes seconds, and most processes never ask."""

    def __init__(self, settings: Settings, outbound: "Outbound") -> None:
        endpoint = endpoint_of(settings)
        self.name = endpoint.model
        self.provider = endpoint.provider
        self._settings = settings
        self._outbound = outbound
        self._model: LanguageModel | None = None

    def warm_up(self) -> LanguageModel:
        """Loads the adapter now (seconds of import); a worker calls it before it takes work."""
        if self._model is None:
            from conforme.foundation.llm_pydantic_ai import open_model

            self._model = open_model(self._settings, self._outbound)
        return self._model

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:
        return await self.warm_up().ask(request)

    async def consult(self, request: Consultation[T]) -> ModelReply[T] | ToolUse:
        return await self.warm_up().consult(request)


def model_from(settings: Settings, outbound: "Outbound") -> LanguageModel:
    """The configured model. Never raises: what is missing is said when it is asked."""
    if missing_key(settings):
        return UnconfiguredModel(endpoint_of(settings))
    return LazyModel(settings, outbound)
