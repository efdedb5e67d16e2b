"""OpenAI's client, without what its generated methods do in Python around every request.

They look at each value of a request for a name or a date to rewrite, trying dozens of types for every message, though
what we send is already as the API spells it; they put the same headers together again; and they build an answer
attribute by attribute. Together that costs more than sending the request. Here the request goes as it is given, and
the answer is read by its model's own validator; one that does not validate, as compatible servers may send, is built
the library's way. Errors are the library's own.
"""

from typing import Any, TypeVar

import httpx2
from openai import APIConnectionError, APITimeoutError, AsyncOpenAI, BaseModel, Omit
from openai._compat import cached_property
from openai.resources.chat.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions
from openai.resources.responses import AsyncResponses
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)


class PlainOpenAI(AsyncOpenAI):
    @cached_property
    def responses(self) -> AsyncResponses:
        return _Responses(self)

    @cached_property
    def chat(self) -> AsyncChat:
        return _Chat(self)

    @cached_property
    def _standing_headers(self) -> dict[str, str]:
        return _given(self._auth_headers({"bearer_auth": True}) | self.default_headers)

    async def posted(self, path: str, answer: type[ModelT], asked: dict[str, Any]) -> ModelT:
        """The answer to one request, sent once; raises what the library raises."""
        headers = self._standing_headers | _given(asked.pop("extra_headers", None) or {})
        more = asked.pop("extra_body", None) or {}
        body = {name: value for name, value in _given(asked).items() if name not in _OPTIONS} | more
        request = self._client.build_request("POST", self._prepare_url(path), headers=headers, json=body)
        try:
            response = await self._client.send(request)
        except httpx2.TimeoutException as error:
            raise APITimeoutError(request=request) from error
        except Exception as error:
            raise APIConnectionError(request=request) from error
        if not response.is_success:
            raise self._make_status_error_from_response(response)
        try:
            return answer.model_validate_json(response.content)
        except ValidationError:
            return answer.construct(**response.json())


class _Responses(AsyncResponses):
    async def create(self, **asked: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if asked.get("stream"):
            return await super().create(**asked)
        return await _plain(self._client).posted("/responses", Response, asked)


class _Completions(AsyncCompletions):
    async def create(self, **asked: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if asked.get("stream"):
            return await super().create(**asked)
        return await _plain(self._client).posted("/chat/completions", ChatCompletion, asked)


class _Chat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


def _plain(client: AsyncOpenAI) -> PlainOpenAI:
    assert isinstance(client, PlainOpenAI)  # noqa: S101 -- which made the resource
    return client


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not isinstance(value, Omit)}


_OPTIONS = frozenset({"extra_query", "timeout"})
"""Words of the generated methods that are no part of the body: the HTTP client has its own timeout."""
