"""An HTTP transport with one deadline for the whole exchange and one cap on what an answer unpacks to.

A client's own timeouts watch single reads: a server that drips a byte a second outlives them all. And a cap on the
bytes received says nothing of the gigabytes they may inflate to, so bodies are unpacked here, piece by piece.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx2

_PIECE = 256 * 1024
"""Bytes unpacked at once."""

_PACKED = frozenset({"gzip", "x-gzip", "deflate"})


class BodyTooLarge(httpx2.TransportError):
    """The answer is larger than allowed."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Gives `inner` `seconds` for request and answer together, and lets `max_bytes` of unpacked body through.

    Raises `httpx2.ReadTimeout` at the deadline, `BodyTooLarge` beyond the cap and `httpx2.DecodingError` for a body
    packed in another way than gzip or deflate.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, seconds: float, max_bytes: int) -> None:
        self._inner = inner
        self._seconds = seconds
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = asyncio.get_running_loop().time() + self._seconds
        async with _until(deadline):
            answer = await self._inner.handle_async_request(request)
        try:
            body = _BoundedBody(answer, deadline=deadline, max_bytes=self._max_bytes)
        except BaseException:
            await answer.aclose()
            raise
        headers = httpx2.Headers(answer.headers)
        if body.packed:
            headers.pop("content-encoding", None)
            headers.pop("content-length", None)
        return httpx2.Response(answer.status_code, headers=headers, stream=body, extensions=answer.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def _until(deadline: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError:
        raise httpx2.ReadTimeout("The exchange took longer than its deadline") from None


class _BoundedBody(httpx2.AsyncByteStream):
    def __init__(self, answer: httpx2.Response, *, deadline: float, max_bytes: int) -> None:
        self.packed = _is_packed(answer.headers.get("content-encoding", ""))
        announced = answer.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > max_bytes:
            raise BodyTooLarge(_too_large(max_bytes))
        self._answer = answer
        self._deadline = deadline
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = passed = 0
        unpack = _Unpacker() if self.packed else None
        async for raw in self._raw():
            received += len(raw)
            for piece in unpack.feed(raw) if unpack else (raw,):
                passed += len(piece)
                if max(received, passed) > self._max_bytes:
                    raise BodyTooLarge(_too_large(self._max_bytes))
                yield piece
        if unpack:
            unpack.finish()

    async def _raw(self) -> AsyncIterator[bytes]:
        assert isinstance(self._answer.stream, AsyncIterable)  # noqa: S101 -- what an async transport returns
        pieces = aiter(self._answer.stream)
        while True:
            async with _until(self._deadline):
                raw = await anext(pieces, None)
            if raw is None:
                return
            yield raw

    async def aclose(self) -> None:
        await self._answer.aclose()


def _is_packed(encoding: str) -> bool:
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return False
    if name in _PACKED:
        return True
    raise httpx2.DecodingError("The answer is packed in a way that was not asked for")


def _too_large(max_bytes: int) -> str:
    return f"The answer is larger than {max_bytes} bytes"


class _Unpacker:
    """Inflates gzip (several members too) or zlib data in pieces of bounded size."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def feed(self, raw: bytes) -> Iterator[bytes]:
        while raw:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
            self._begun = True
            yield from self._pieces(raw)
            raw = self._inflate.unused_data

    def _pieces(self, raw: bytes) -> Iterator[bytes]:
        try:
            while piece := self._inflate.decompress(raw, _PIECE):
                yield piece
                raw = self._inflate.unconsumed_tail
        except zlib.error:
            raise httpx2.DecodingError("The answer cannot be unpacked") from None

    def finish(self) -> None:
        if self._begun and not self._inflate.eof:
            raise httpx2.DecodingError("The answer is cut short")
