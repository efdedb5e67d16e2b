"""What every request passes before a handler sees it (spec/http-auth §1.1).

One pure ASGI layer: it labels the answer with the instance and a correlation id, tells browsers what they may do with
it, answers their preflights, folds the path (case and a trailing slash do not matter), bounds the body and refuses
malformed JSON before anybody asks who calls. Nothing gets past it: what nobody caught is answered here, labelled alike.
"""

import json
import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conforme.foundation.cors import PREFLIGHT_STATUS, BrowserRules, preflight
from conforme.foundation.errors import ConformeError, Invalid, InvalidJson, TooLarge
from conforme.foundation.logging import bind_correlation, clear_correlation
from conforme.foundation.web import failure, unexpected

WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
MAX_TARGET_BYTES = 16 * 1024


class Border:
    """ASGI middleware; `static_segments` are the path words whose case is folded."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        instance: str,
        body_limit: int,
        static_segments: frozenset[str],
        rules: BrowserRules,
    ) -> None:
        self.app = app
        self.instance = instance
        self.body_limit = body_limit
        self.static_segments = static_segments
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        answer = _Answer(self, scope, send, request_id)
        bind_correlation(request_id)
        try:
            await self._answered(scope, receive, answer)
        except Exception as error:
            if answer.begun:
                raise
            await (await unexpected(Request(scope), error))(scope, receive, answer)
        finally:
            clear_correlation()

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            headers = preflight(Headers(scope=scope))
            await Response(status_code=PREFLIGHT_STATUS, headers=headers)(scope, receive, send)
            return
        try:
            folded, replay = await self._checked(scope, receive)
        except ConformeError as error:
            refusal = JSONResponse(failure(error.message, error.code), status_code=error.status)
            await refusal(scope, receive, send)
            return
        await self.app(folded, replay, send)

    async def _checked(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        if len(scope["raw_path"] or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
            raise Invalid("The URL is too long", field="url")
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise Invalid("The URL must not contain NUL characters", field="url")
        folded = dict(scope, path=self._folded(scope["path"]))
        if scope["method"] not in WITH_BODY:
            return folded, receive
        headers = Headers(scope=scope)
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        body = await self._body(headers, receive)
        if kind == "application/x-www-form-urlencoded":
            return folded, _replayed(body, receive)
        if kind != "application/json" or not body.strip():
            body = b"{}"
        check_json(body)
        MutableHeaders(scope=folded)["content-type"] = "application/json"
        MutableHeaders(scope=folded)["content-length"] = str(len(body))
        return folded, _replayed(body, receive)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.body_limit:
            raise TooLarge(f"The body exceeds {self.body_limit} bytes")
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Invalid("The request ended before its body")
            body += message.get("body", b"")
            if len(body) > self.body_limit:
                raise TooLarge(f"The body exceeds {self.body_limit} bytes")
            if not message.get("more_body"):
                return bytes(body)

    def _folded(self, path: str) -> str:
        parts = path.rstrip("/").split("/")
        return (
            "/".join(part.lower() if part.lower() in self.static_segments else part for part in parts) or "/"
        )


class _Answer:
    """The way back: labels the answer as it begins, and knows whether it has."""

    def __init__(self, border: Border, scope: Scope, send: Send, request_id: str) -> None:
        self.border = border
        self.asked = Headers(scope=scope)
        self.path: str = scope["path"]
        self.send = send
        self.request_id = request_id
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            headers["X-Backend-Instance"] = self.border.instance
            headers["X-Request-Id"] = self.request_id
            self.border.rules.mark(headers, self.asked, self.path)
        await self.send(message)


def check_json(body: bytes) -> None:
    """Refuses what is not a JSON object or array.

    Raises:
        InvalidJson: malformed, too deep, not UTF-8, or a scalar.
    """
    try:
        parsed = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InvalidJson from None
    if not isinstance(parsed, dict | list):
        raise InvalidJson


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
