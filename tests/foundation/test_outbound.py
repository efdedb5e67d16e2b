"""The way out: what may be reached, what is refused before anything connects, and how an exchange ends."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.foundation.errors import External
from conforme.foundation.outbound import (
    RECORDING_URL,
    WEBHOOK_URL,
    Outbound,
    OutboundFailed,
    Resolve,
    UnsafeUrl,
    answer_failure,
    exchange_failure,
    is_retryable,
    resolve_host,
    retry_after_seconds,
)
from conforme.foundation.transport import BodyTooLarge, BoundedTransport
from conforme.foundation.urls import parse_url
from conforme.settings import Settings
from hostile_urls import HOSTILE_HOSTS, MALFORMED, OTHER_SCHEMES, WITH_CREDENTIALS

PUBLIC = "93.184.216.34"
Respond = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def answers(*found: Sequence[str] | Exception) -> tuple[Resolve, list[str]]:
    """A resolver that gives these answers in turn (the last one for ever), and what it was asked."""
    asked: list[str] = []
    queue = list(found)

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return resolve, asked


@asynccontextmanager
async def server(respond: Respond) -> AsyncGenerator[str]:
    """A server on loopback that reads a request's head and lets `respond` write; gives its origin."""
    tasks: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # pyright: ignore[reportArgumentType]
        try:
            await respond(await reader.readuntil(b"\r\n\r\n"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(status: str, body: bytes = b"", *headers: str) -> Respond:
    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return respond


def trusting(origin: str, **settings: Any) -> Outbound:
    return Outbound(
        Settings(outbound_allowed_origins=(origin,), webhook_allowed_origins=(origin,), **settings)
    )


async def downloaded(
    outbound: Outbound, url: str, *, max_bytes: int = 1_000_000, seconds: float = 20
) -> bytes:
    async with outbound.download(url, max_bytes=max_bytes, timeout=seconds) as pieces:
        return b"".join([piece async for piece in pieces])


class Wire:
    """Stands where the network begins: what would have been sent, and what comes back."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.replies: list[httpx2.Response | Exception] = []

    async def send(self, _transport: object, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        reply = self.replies.pop(0) if self.replies else httpx2.Response(200, content=b"ok")
        if isinstance(reply, Exception):
            raise reply
        return reply


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()

    async def send(transport: object, request: httpx2.Request) -> httpx2.Response:
        return await wire.send(transport, request)

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", send)
    return wire


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_hostile_host_is_ever_connected_to(wire: Wire, scheme: str, host: str) -> None:
    resolve, _ = answers(["10.0.0.7"])
    with pytest.raises(UnsafeUrl):
        await downloaded(Outbound(Settings(), resolve=resolve), f"{scheme}://{host}/a.mp3")
    assert not wire.requests


@pytest.mark.parametrize("url", [*MALFORMED, *OTHER_SCHEMES, *WITH_CREDENTIALS])
async def test_no_hostile_url_is_even_resolved(wire: Wire, url: str) -> None:
    resolve, asked = answers([PUBLIC])
    with pytest.raises(UnsafeUrl):
        await downloaded(Outbound(Settings(), resolve=resolve), url)
    assert not asked
    assert not wire.requests


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (MALFORMED, "Invalid webhookUrl format"),
        (OTHER_SCHEMES, "webhookUrl must use http or https protocol"),
        (WITH_CREDENTIALS, "webhookUrl must not include credentials"),
        (["http://localhost/", "http://a.local/"], "webhookUrl hostname not allowed"),
        (["http://10.0.0.1/", "http://[::1]/", "http://2130706433/"], "webhookUrl IP not allowed"),
    ],
    ids=["format", "protocol", "credentials", "hostname", "address"],
)
def test_a_refusal_is_worded_as_the_contract_says(urls: list[str], message: str) -> None:
    outbound = Outbound(Settings())
    for url in urls:
        with pytest.raises(UnsafeUrl) as caught:
            outbound.check(url, WEBHOOK_URL)
        assert caught.value.message == message
        assert caught.value.code == "VALIDATION_ERROR"


def test_a_refusal_names_what_the_url_is_for() -> None:
    with pytest.raises(UnsafeUrl, match=r"^recording URL IP not allowed$"):
        Outbound(Settings()).check("http://127.0.0.1/", RECORDING_URL)


def test_a_list_of_webhook_origins_admits_them_alone() -> None:
    outbound = Outbound(
        Settings(webhook_allowed_origins=("http://10.0.0.1:8080", "https://Hooks.example.test/"))
    )
    assert outbound.check("http://10.0.0.1:8080/x?y=1", WEBHOOK_URL).origin == "http://10.0.0.1:8080"
    assert outbound.check("https://hooks.example.test:443/x", WEBHOOK_URL).host == "hooks.example.test"
    with pytest.raises(UnsafeUrl) as caught:
        outbound.check("https://other.example.test/secret?token=1", WEBHOOK_URL)
    assert caught.value.message == (
        "webhookUrl origin not allowed (set WEBHOOK_ALLOWED_ORIGINS). Got https://other.example.test"
    )
    assert outbound.check("https://other.example.test/", RECORDING_URL)


@pytest.mark.parametrize("near", ["http://127.0.0.1:81/", "https://127.0.0.1:80/", "http://127.0.0.2/"])
def test_an_allowed_origin_is_matched_exactly(near: str) -> None:
    outbound = Outbound(Settings(outbound_allowed_origins=("http://127.0.0.1:80", "no url")))
    assert outbound.check("http://127.0.0.1/x", RECORDING_URL)
    with pytest.raises(UnsafeUrl):
        outbound.check(near, RECORDING_URL)


async def test_the_connection_goes_to_the_checked_address_and_the_name_stays_in_host_and_tls(
    wire: Wire,
) -> None:
    resolve, asked = answers([PUBLIC], ["127.0.0.1"])
    assert (
        await downloaded(Outbound(Settings(), resolve=resolve), "https://CDN.example.test:8443/a.mp3?s=1")
        == b"ok"
    )
    (request,) = wire.requests
    assert str(request.url) == f"https://{PUBLIC}:8443/a.mp3?s=1"
    assert request.headers["host"] == "cdn.example.test:8443"
    assert request.extensions["sni_hostname"] == "cdn.example.test"
    assert asked == ["cdn.example.test"]


async def test_a_name_that_is_rebound_between_two_downloads_is_refused_the_second_time(wire: Wire) -> None:
    resolve, _ = answers([PUBLIC], ["127.0.0.1"])
    outbound = Outbound(Settings(), resolve=resolve)
    await downloaded(outbound, "http://rebind.example.test/")
    with pytest.raises(UnsafeUrl):
        await downloaded(outbound, "http://rebind.example.test/")
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "private", ["127.0.0.1", "::1", "fe80::1%eth0", "64:ff9b::7f00:1", "not an address", ""]
)
async def test_one_private_address_among_public_ones_spoils_them_all(wire: Wire, private: str) -> None:
    resolve, _ = answers([PUBLIC, private, "2606:4700::1"])
    with pytest.raises(UnsafeUrl):
        await downloaded(Outbound(Settings(), resolve=resolve), "http://mixed.example.test/")
    assert not wire.requests


async def test_an_address_that_cannot_be_reached_gives_way_to_the_next_checked_one(wire: Wire) -> None:
    wire.replies = [
        httpx2.ConnectError("no route"),
        httpx2.ConnectTimeout("slow"),
        httpx2.Response(200, content=b"x"),
    ]
    resolve, _ = answers(["2606:4700::1", "2606:4700::2", PUBLIC])
    await downloaded(Outbound(Settings(), resolve=resolve), "http://cdn.example.test/")
    assert [request.url.host for request in wire.requests] == ["2606:4700::1", "2606:4700::2", PUBLIC]


async def test_the_name_is_what_the_tls_handshake_asks_for() -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        writer.close()

    listening = await asyncio.start_server(listen, "127.0.0.1", 0)
    origin = f"https://secure.example.test:{listening.sockets[0].getsockname()[1]}"
    outbound = Outbound(Settings(outbound_allowed_origins=(origin,)), resolve=answers(["127.0.0.1"])[0])
    async with listening:
        with pytest.raises(OutboundFailed):
            await downloaded(outbound, f"{origin}/a")
    assert b"secure.example.test" in heard[0]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "later"), True),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), False),
        (UnicodeError("label too long"), True),
        (OSError("broken"), True),
    ],
)
async def test_a_name_that_does_not_resolve_is_an_outage_of_the_other_side(
    error: Exception, retryable: bool
) -> None:
    with pytest.raises(OutboundFailed) as caught:
        await downloaded(Outbound(Settings(), resolve=answers(error)[0]), "http://gone.example.test/")
    assert caught.value.retryable is retryable


async def test_a_name_without_addresses_is_an_outage_of_the_other_side() -> None:
    with pytest.raises(OutboundFailed, match="name not resolved"):
        await downloaded(Outbound(Settings(), resolve=answers([])[0]), "http://gone.example.test/")


async def test_a_resolver_that_hangs_is_left_at_the_deadline() -> None:
    async def hang(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(OutboundFailed, match="name resolution timed out"):
        await downloaded(Outbound(Settings(), resolve=hang), "http://slow.example.test/", seconds=0.05)


async def test_the_systems_resolver_gives_each_address_once() -> None:
    assert await resolve_host("127.0.0.1", 80) == ("127.0.0.1",)


async def test_a_body_comes_as_it_arrives() -> None:
    first_seen = asyncio.Event()

    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
        await writer.drain()
        await first_seen.wait()
        writer.write(b"later")
        await writer.drain()

    async with (
        server(respond) as origin,
        trusting(origin).download(f"{origin}/a", max_bytes=10, timeout=20) as pieces,
    ):
        assert await anext(pieces) == b"first"
        first_seen.set()
        assert b"".join([piece async for piece in pieces]) == b"later"


async def test_a_redirect_is_not_followed() -> None:
    async with server(
        saying("302 Found", b"", "location: http://169.254.169.254/latest/meta-data")
    ) as origin:
        with pytest.raises(OutboundFailed, match="redirects are not followed") as caught:
            await downloaded(trusting(origin), f"{origin}/a")
    assert caught.value.upstream_status == 302
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status", "retryable"), [(404, False), (401, False), (429, True), (500, True), (503, True)]
)
async def test_a_failed_answer_tells_its_status_and_nothing_of_its_body(status: int, retryable: bool) -> None:
    body = b"customer jeanne@example.test, key=secret-value"
    async with server(saying(f"{status} No", body, "retry-after: 12", "x-secret: secret-value")) as origin:
        with pytest.raises(OutboundFailed) as caught:
            await downloaded(trusting(origin), f"{origin}/jeanne?signature=secret-value")
    error = caught.value
    assert (error.reason, error.retryable, error.retry_after) == (f"status={status}", retryable, 12.0)
    assert "secret-value" not in str(error)
    assert "jeanne" not in str(error)
    assert isinstance(error, External)


async def test_a_body_announced_too_large_is_not_read() -> None:
    async with server(saying("200 OK", b"x" * 101)) as origin:
        with pytest.raises(OutboundFailed, match="answer too large"):
            await downloaded(trusting(origin), f"{origin}/a", max_bytes=100)


async def test_a_body_of_exactly_the_allowed_size_passes() -> None:
    async with server(saying("200 OK", b"x" * 100)) as origin:
        assert len(await downloaded(trusting(origin), f"{origin}/a", max_bytes=100)) == 100


async def test_a_body_that_does_not_end_is_cut_off() -> None:
    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    async with server(respond) as origin:
        with pytest.raises(OutboundFailed, match="answer too large"):
            await downloaded(trusting(origin), f"{origin}/a", max_bytes=100_000)


async def test_a_bomb_is_defused_before_it_unfolds() -> None:
    bomb = gzip.compress(b"\0" * 30_000_000, compresslevel=9)
    async with server(saying("200 OK", bomb, "content-encoding: gzip")) as origin:
        with pytest.raises(OutboundFailed, match="answer too large"):
            await downloaded(trusting(origin), f"{origin}/a", max_bytes=1_000_000)


@pytest.mark.parametrize("pause", ["before the head", "in the body", "byte by byte"])
async def test_a_server_that_takes_too_long_is_left_at_the_deadline(pause: str) -> None:
    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        if pause != "before the head":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while pause == "byte by byte":
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    async with server(respond) as origin:
        with pytest.raises(OutboundFailed, match="timed out") as caught:
            await downloaded(trusting(origin), f"{origin}/a", seconds=0.2)
    assert caught.value.retryable


async def test_a_connection_that_breaks_is_worth_another_try() -> None:
    async with server(saying("200 OK")) as origin:
        pass
    with pytest.raises(OutboundFailed, match="connection failed") as caught:
        await downloaded(trusting(origin), f"{origin}/a")
    assert caught.value.retryable


async def test_a_body_cut_short_is_worth_another_try() -> None:
    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
        await writer.drain()

    async with server(respond) as origin:
        with pytest.raises(OutboundFailed, match="connection broken") as caught:
            await downloaded(trusting(origin), f"{origin}/a")
    assert caught.value.retryable


async def test_leaving_a_download_early_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            closed.set()

    async with server(respond) as origin:
        async with trusting(origin).download(f"{origin}/a", max_bytes=10**9, timeout=20) as pieces:
            await anext(pieces)
        await closed.wait()


async def test_a_post_carries_its_body_and_headers_and_gives_any_status_back() -> None:
    heads: list[bytes] = []

    async def respond(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        await saying("410 Gone", b"no more", "x-reason: gone")(head, writer)

    async with server(respond) as origin:
        headers = {"webhook-id": "m1", "Host": "evil.example.test", "content-type": "application/json"}
        answer = await trusting(origin).post(f"{origin}/hook", body=b'{"a":1}', headers=headers, timeout=20)
    assert (answer.status, answer.body, answer.headers["x-reason"]) == (410, b"no more", "gone")
    assert heads[0].startswith(b"post /hook http/1.1")
    assert b"webhook-id: m1" in heads[0]
    assert b"content-length: 7" in heads[0]
    assert b"evil" not in heads[0]


async def test_a_post_keeps_only_the_beginning_of_a_long_answer() -> None:
    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(100):
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async with server(respond) as origin:
        answer = await trusting(origin).post(f"{origin}/hook", body=b"{}", headers={}, timeout=20)
    assert answer.status == 200
    assert 0 < len(answer.body) <= 65536


async def test_a_post_goes_to_no_private_address(wire: Wire) -> None:
    with pytest.raises(UnsafeUrl, match="webhookUrl IP not allowed"):
        await Outbound(Settings()).post("http://10.0.0.1/", body=b"{}", headers={}, timeout=1)
    assert not wire.requests


async def test_a_provider_is_reached_wherever_the_operator_says_and_without_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    heads: list[bytes] = []

    async def respond(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await saying("200 OK", gzip.compress(b'{"a": 1}'), "content-encoding: gzip")(head, writer)

    async with server(respond) as origin:
        outbound = Outbound(Settings())
        async with outbound.provider(base_url=f"{origin}/api", headers={"xi-api-key": "k"}) as client:
            response = await client.get("/sales", params={"date": "05/01/2026"})
        await outbound.aclose()
    assert response.json() == {"a": 1}
    assert heads[0].startswith(b"GET /api/sales?date=05%2F01%2F2026 HTTP/1.1")
    assert b"xi-api-key: k" in heads[0]


async def test_a_provider_that_takes_too_long_is_left_at_the_deadline() -> None:
    async def respond(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with (
        server(respond) as origin,
        Outbound(Settings()).provider(base_url=origin, timeout=0.2) as client,
    ):
        with pytest.raises(httpx2.ReadTimeout) as caught:
            await client.get("/")
    assert exchange_failure("CRM", caught.value).message == "CRM: timed out"


async def test_a_provider_that_says_too_much_is_cut_off_and_its_redirects_are_not_followed() -> None:
    async with server(saying("302 Found", b"x" * 200, "location: /elsewhere")) as origin:
        async with Outbound(Settings()).provider(base_url=origin, max_bytes=300) as client:
            assert (await client.get("/")).status_code == 302
        async with Outbound(Settings()).provider(base_url=origin, max_bytes=100) as client:
            with pytest.raises(BodyTooLarge):
                await client.get("/")


async def test_closing_closes_the_clients_that_were_left_open() -> None:
    outbound = Outbound(Settings())
    client = outbound.provider(base_url="http://127.0.0.1:9")
    await outbound.aclose()
    assert client.is_closed


def bounded(body: bytes, encoding: str, *, max_bytes: int = 10_000_000) -> httpx2.AsyncClient:
    async def pieces() -> AsyncGenerator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-encoding": encoding}, content=pieces())

    inner = httpx2.MockTransport(answer)
    return httpx2.AsyncClient(transport=BoundedTransport(inner, seconds=20, max_bytes=max_bytes))


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "x-gzip", "deflate", "identity", " GZIP "]))
async def test_whatever_was_packed_comes_out(data: bytes, encoding: str) -> None:
    pack = {"identity": bytes, "deflate": zlib.compress}.get(encoding, gzip.compress)
    async with bounded(pack(data), encoding) as client:
        assert (await client.get("http://x.example.test/")).content == data


async def test_several_packed_members_are_one_body() -> None:
    async with bounded(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip") as client:
        assert (await client.get("http://x.example.test/")).content == b"one two"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b"x" * 100, mtime=0)[:-9], "gzip"),
        (b"not packed", "gzip"),
        (b"x", "br"),
        (b"x", "gzip, gzip"),
    ],
)
async def test_a_body_that_cannot_be_unpacked_says_so(body: bytes, encoding: str) -> None:
    async with bounded(body, encoding) as client:
        with pytest.raises(httpx2.DecodingError):
            await client.get("http://x.example.test/")


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (httpx2.ConnectTimeout("x"), "timed out", True),
        (httpx2.PoolTimeout("x"), "timed out", True),
        (httpx2.ConnectError("https://u:p@h/?k=v"), "connection failed", True),
        (httpx2.ReadError("x"), "connection broken", True),
        (httpx2.RemoteProtocolError("x"), "connection broken", True),
        (httpx2.LocalProtocolError("x"), "request not valid", False),
        (httpx2.UnsupportedProtocol("x"), "request not valid", False),
        (httpx2.DecodingError("x"), "answer cannot be unpacked", False),
        (BodyTooLarge("x"), "answer too large", False),
    ],
)
def test_a_broken_exchange_has_one_reason(error: httpx2.HTTPError, reason: str, retryable: bool) -> None:
    failure = exchange_failure("ElevenLabs", error)
    assert (failure.message, failure.retryable) == (f"ElevenLabs: {reason}", retryable)


@given(st.integers(100, 599))
def test_an_answer_is_retryable_or_not_by_its_status_alone(status: int) -> None:
    failure = answer_failure("CRM", httpx2.Response(status))
    assert failure.retryable is is_retryable(status)
    assert is_retryable(status) <= (status in {408, 425, 429} or status >= 500)


NOW = datetime(2026, 1, 5, 9, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0), ("120", 120.0), (" 7 ", 7.0), ("1.5", 1.5), ("-5", 0.0), ("999999", 3600.0), ("", None), ("soon", None),
        ("nan", None), ("inf", None), ("Mon, 05 Jan 2026 09:15:00 GMT", 60.0), ("Mon, 05 Jan 2026 09:00:00 GMT", 0.0),
        ("Mon, 05 Jan 2026 09:15:00 -0000", 60.0), ("Mon, 99 Jan 2026 09:15:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": value}, NOW) == seconds
    assert retry_after_seconds(httpx2.Headers({"retry-after": value}), NOW) == seconds


def test_retry_after_in_milliseconds_counts_first() -> None:
    assert retry_after_seconds({"retry-after-ms": "250", "retry-after": "9"}, NOW) == 0.25
    assert retry_after_seconds({"retry-after-ms": "x", "retry-after": "9"}, NOW) == 9.0
    assert retry_after_seconds({}, NOW) is None


@given(st.text(max_size=40) | st.floats().map(str))
def test_any_retry_after_is_none_or_within_an_hour(value: str) -> None:
    seconds = retry_after_seconds({"retry-after": value}, NOW)
    assert seconds is None or 0 <= seconds <= 3600


@given(st.integers(1, 3500))
def test_a_date_and_its_seconds_mean_the_same(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds({"retry-after": date}, NOW) == seconds


@given(
    st.text(max_size=60)
    | st.text("htp:/@[].0123456789abxé%?#", max_size=40).map(lambda rest: f"http://{rest}")
)
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_url(text, "URL")
    except UnsafeUrl:
        return
    assert target.scheme in {"http", "https"}
    assert target.host.isascii()
    assert target.path.startswith("/")
    assert parse_url(f"{target.origin}{target.path}", "URL") == target
    request = httpx2.Request("GET", target.at(PUBLIC), headers={"host": target.authority})
    assert (request.url.host, request.url.port or target.port) == (PUBLIC, target.port)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://example.test", "http://1.1.1.1:80/"),
        ("https://example.test?x=1", "https://1.1.1.1:443/?x=1"),
        ("http://example.test/a b/é.mp3?q=a b#frag", "http://1.1.1.1:80/a b/é.mp3?q=a b"),
    ],
)
def test_path_and_query_are_kept_and_the_fragment_is_not_sent(url: str, sent: str) -> None:
    assert parse_url(url, "URL").at("1.1.1.1") == sent
