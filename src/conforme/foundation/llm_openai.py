"""OpenAI's client, without the two walks in Python that its generated methods take around every request.

It looks at each value of a request for a name or a date to rewrite, trying dozens of types for every message, though
what we send is already as the API spells it; and it builds an answer attribute by attribute. Together they cost more
than sending the request. Here the request goes as it is given, and the answer is read by its model's own validator;
one that does not validate, as compatible servers may send, is built the library's way.
"""

from typing import Any, TypeVar

import httpx2
from openai import AsyncOpenAI, BaseModel, Omit
from openai._base_client import make_request_options
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


class _Responses(AsyncResponses):
    async def create(self, **asked: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if asked.get("stream"):
            return await super().create(**asked)
        return await _posted(self._client, "/responses", Response, asked)


class _Completions(AsyncCompletions):
    async def create(self, **asked: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if asked.get("stream"):
            return await super().create(**asked)
        return await _posted(self._client, "/chat/completions", ChatCompletion, asked)


class _Chat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


async def _posted(client: AsyncOpenAI, path: str, answer: type[ModelT], asked: dict[str, Any]) -> ModelT:
    options = {name: asked.pop(name) for name in _OPTIONS if name in asked}
    body = {name: value for name, value in asked.items() if not isinstance(value, Omit)}
    sent = make_request_options(**options, security={"bearer_auth": True})
    response = await client.post(path, body=body, options=sent, cast_to=httpx2.Response)
    try:
        return answer.model_validate_json(response.content)
    except ValidationError:
        return answer.construct(**response.json())


_OPTIONS = ("extra_headers", "extra_query", "extra_body", "timeout")
