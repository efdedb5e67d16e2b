"""The one way out over HTTP.

`Outbound.provider` speaks to services the operator configured. `download` and `post` speak to URLs that come from
outside (recordings, webhooks): every address of the host must be public, the connection goes to an address that was
checked (a second look at the name could answer differently), and no redirect is followed.

Failures are `UnsafeUrl` or `OutboundFailed`; their messages name the subject and the reason, and never carry a header,
a query string or a body.
"""

import asyncio
import math
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from weakref import WeakSet

import httpx2

from conforme.foundation.addresses import is_public
from conforme.foundation.database import now
from conforme.foundation.errors import External
from conforme.foundation.transport import BodyTooLarge, BoundedTransport
from conforme.foundation.urls import Target, UnsafeUrl, parse_url
from conforme.settings import Settings

__all__ = [
    "RECORDING_URL",
    "WEBHOOK_URL",
    "Answer",
    "Outbound",
    "OutboundFailed",
    "Purpose",
    "Resolve",
    "Target",
    "UnsafeUrl",
    "answer_failure",
    "exchange_failure",
    "is_retryable",
    "resolve_host",
    "retry_after_seconds",
]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host, IPv4 and IPv6, in the order they should be tried."""

CONNECT_SECONDS = 10.0
RESOLVE_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_ADDRESSES_TRIED = 4
PROVIDER_MAX_BYTES = 64 * 1024 * 1024
POST_ANSWER_MAX_BYTES = 64 * 1024

_USER_AGENT = "conforme"
_INTERNAL_SUFFIXES = (".localhost", ".local", ".localdomain", ".internal", ".intranet", ".home.arpa")
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


class OutboundFailed(External):
    """The other side could not be reached or did not answer well."""

    def __init__(
        self,
        subject: str,
        reason: str,
        *,
        upstream_status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{subject}: {reason}", retryable=retryable, retry_after=retry_after)
        self.reason = reason
        """For a message of one's own: `status=404`, `timed out`, `connection failed`…"""
        self.upstream_status = upstream_status


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a URL from outside is for: its name in messages, and what it may reach beside public addresses."""

    subject: str
    trusted_origins: Callable[[Settings], Sequence[str]] = lambda _: ()
    """Reached although they are not public."""
    only_origins: Callable[[Settings], Sequence[str]] = lambda _: ()
    """When any is listed: the only ones, and trusted."""
    setting: str = ""
    local_outside_production: bool = False
    """Whether a developer's own machine may be reached where NODE_ENV is not `production`."""


RECORDING_URL = Purpose("recording URL", trusted_origins=lambda settings: settings.outbound_allowed_origins)
WEBHOOK_URL = Purpose(
    "webhookUrl",
    only_origins=lambda settings: settings.webhook_allowed_origins,
    setting="WEBHOOK_ALLOWED_ORIGINS",
    local_outside_production=True,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a posted request got back; `body` is cut at 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """A and AAAA records through the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Outbound:
    """Guarded HTTP for the whole process; one instance, closed at its end."""

    def __init__(self, settings: Settings, *, resolve: Resolve = resolve_host) -> None:
        self._settings = settings
        self._resolve = resolve
        self._clients: WeakSet[httpx2.AsyncClient] = WeakSet()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Loading the certificates takes tens of milliseconds: once for all connections.
        return httpx2.create_ssl_context(trust_env=False)

    def provider(
        self,
        *,
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_bytes: int = PROVIDER_MAX_BYTES,
    ) -> httpx2.AsyncClient:
        """A client for a service the operator configured, on any address.

        `timeout` seconds (default OUTBOUND_TIMEOUT_SECONDS) bound a whole exchange, body included. Errors are those
        of httpx2; `exchange_failure` and `answer_failure` turn them into ours. The caller closes it; what is still
        open is closed with this object.
        """
        seconds = timeout or self._settings.outbound_timeout_seconds
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)
        client = httpx2.AsyncClient(
            base_url=base_url,
            headers={"user-agent": _USER_AGENT, "accept-encoding": "gzip", **(headers or {})},
            transport=BoundedTransport(
                httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits),
                seconds=seconds,
                max_bytes=max_bytes,
            ),
            timeout=httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            follow_redirects=False,
            trust_env=False,
        )
        self._clients.add(client)
        return client

    def check(self, url: str, purpose: Purpose) -> Target:
        """What can be said of a URL without resolving its name: to refuse it where it is entered.

        Raises `UnsafeUrl` with the messages of spec/automation §8.
        """
        return self._admit(parse_url(url, purpose.subject), purpose)[0]

    @asynccontextmanager
    async def download(
        self,
        url: str,
        *,
        max_bytes: int,
        timeout: float,  # noqa: ASYNC109 -- one deadline for resolving, connecting and the whole body
        purpose: Purpose = RECORDING_URL,
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The body of a URL from outside, as it arrives.

        Raises `UnsafeUrl`, or `OutboundFailed` (also while the body is read) for any answer but a 2xx.
        """
        request = _Exchange("GET", {}, b"", max_bytes=max_bytes, seconds=timeout)
        async with self._exchange(url, purpose, request) as response:
            if not response.is_success:
                raise answer_failure(purpose.subject, response)
            async with aclosing(_mapped(response, purpose.subject)) as pieces:
                yield pieces

    async def post(
        self,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 -- one deadline for the whole delivery
        purpose: Purpose = WEBHOOK_URL,
    ) -> Answer:
        """Posts to a URL from outside; any status is an answer, a redirect too (it is not followed)."""
        # The answer's beginning is all that is read, however much of it is announced.
        request = _Exchange("POST", headers, body, max_bytes=sys.maxsize, seconds=timeout)
        async with self._exchange(url, purpose, request) as response:
            received = await _head_of_body(response, purpose.subject)
            return Answer(response.status_code, dict(response.headers), received)

    async def aclose(self) -> None:
        for client in tuple(self._clients):
            await client.aclose()

    def _admit(self, target: Target, purpose: Purpose) -> tuple[Target, bool]:
        """The target and whether its origin is trusted to be on a private address."""
        only = _origins(purpose.only_origins(self._settings))
        if only and target.origin not in only:
            raise UnsafeUrl(
                f"{purpose.subject} origin not allowed (set {purpose.setting}). Got {target.origin}"
            )
        if only or target.origin in _origins(purpose.trusted_origins(self._settings)):
            return target, True
        if purpose.local_outside_production and self._settings.node_env != "production" and _is_local(target):
            return target, True
        if target.address is None and _is_internal_name(target.host):
            raise UnsafeUrl(f"{purpose.subject} hostname not allowed")
        if target.address is not None and not is_public(target.address):
            raise UnsafeUrl(f"{purpose.subject} IP not allowed")
        return target, False

    async def _addresses(
        self, target: Target, *, trusted: bool, subject: str, seconds: float
    ) -> Sequence[str]:
        """Where to connect, each address checked; one that is not public spoils them all."""
        if target.address is not None:
            return (str(target.address),)
        try:
            async with asyncio.timeout(min(seconds, RESOLVE_SECONDS)):
                found = await self._resolve(target.host, target.port)
        except TimeoutError:
            raise OutboundFailed(subject, "name resolution timed out", retryable=True) from None
        except (OSError, UnicodeError) as error:
            unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
            raise OutboundFailed(subject, "name not resolved", retryable=not unknown) from None
        if not found:
            raise OutboundFailed(subject, "name not resolved")
        if not trusted and not all(_is_public_text(address) for address in found):
            raise UnsafeUrl(f"{subject} IP not allowed")
        return found[:MAX_ADDRESSES_TRIED]

    @asynccontextmanager
    async def _exchange(
        self, url: str, purpose: Purpose, exchange: "_Exchange"
    ) -> AsyncGenerator[httpx2.Response]:
        target, trusted = self._admit(parse_url(url, purpose.subject), purpose)
        deadline = asyncio.get_running_loop().time() + exchange.seconds
        addresses = await self._addresses(
            target, trusted=trusted, subject=purpose.subject, seconds=exchange.seconds
        )
        plain = httpx2.AsyncHTTPTransport(
            verify=self._tls, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
        )
        async with plain:
            try:
                response = await _first_reached(plain, target, addresses, exchange, deadline)
            except httpx2.HTTPError as error:
                raise exchange_failure(purpose.subject, error) from None
            try:
                yield response
            finally:
                await response.aclose()


@dataclass(frozen=True, slots=True)
class _Exchange:
    method: str
    headers: Mapping[str, str]
    body: bytes
    max_bytes: int
    seconds: float

    def request(self, target: Target, address: str, seconds: float) -> httpx2.Request:
        """The request to one address, with the name it was asked by in `Host` and in the TLS handshake."""
        headers = httpx2.Headers({"user-agent": _USER_AGENT, "accept-encoding": "identity"})
        headers.update(self.headers)
        headers["host"] = target.authority
        waits = {"connect": min(seconds, CONNECT_SECONDS), "read": seconds, "write": seconds, "pool": seconds}
        return httpx2.Request(
            self.method,
            target.at(address),
            headers=headers,
            content=self.body or None,
            extensions={"timeout": waits, "sni_hostname": target.host},
        )


async def _first_reached(
    plain: httpx2.AsyncBaseTransport,
    target: Target,
    addresses: Sequence[str],
    exchange: _Exchange,
    deadline: float,
) -> httpx2.Response:
    """The answer of the first address that lets itself be connected to; the others were checked as well."""
    *others, last = addresses
    for address in others:
        try:
            return await _attempt(plain, target, address, exchange, deadline)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            continue
    return await _attempt(plain, target, last, exchange, deadline)


async def _attempt(
    plain: httpx2.AsyncBaseTransport, target: Target, address: str, exchange: _Exchange, deadline: float
) -> httpx2.Response:
    seconds = max(deadline - asyncio.get_running_loop().time(), 0.001)
    bounded = BoundedTransport(plain, seconds=seconds, max_bytes=exchange.max_bytes)
    return await bounded.handle_async_request(exchange.request(target, address, seconds))


async def _mapped(response: httpx2.Response, subject: str) -> AsyncGenerator[bytes]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    except httpx2.HTTPError as error:
        raise exchange_failure(subject, error) from None


async def _head_of_body(response: httpx2.Response, subject: str) -> bytes:
    received = bytearray()
    try:
        async for piece in response.aiter_raw():
            received += piece
            if len(received) >= POST_ANSWER_MAX_BYTES:
                break
    except httpx2.HTTPError as error:
        raise exchange_failure(subject, error) from None
    return bytes(received[:POST_ANSWER_MAX_BYTES])


def _is_local(target: Target) -> bool:
    """The developer's own machine, or one that is named on their network (spec/automation §8.5, §8.6)."""
    if target.address is not None:
        return str(target.address) in {"127.0.0.1", "::1"}
    return target.host == "localhost" or target.host.endswith((".localhost", ".local"))


def _is_internal_name(host: str) -> bool:
    """A name that only a local network can answer."""
    return "." not in host or host.endswith(_INTERNAL_SUFFIXES)


def _is_public_text(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return not (isinstance(parsed, IPv6Address) and parsed.scope_id) and is_public(parsed)


def _origins(listed: Sequence[str]) -> frozenset[str]:
    """Allowed origins in the spelling of `Target.origin`; an entry that is no URL allows nothing."""
    origins: set[str] = set()
    for entry in listed:
        try:
            origins.add(parse_url(entry, "origin").origin)
        except UnsafeUrl:
            continue
    return frozenset(origins)


def is_retryable(status: int) -> bool:
    """Whether the same request may fare better later."""
    return status in _RETRYABLE or status > HTTPStatus.GATEWAY_TIMEOUT


def retry_after_seconds(headers: Mapping[str, str], at: datetime) -> float | None:
    """Seconds the other side asks to wait, from `retry-after-ms` or `Retry-After` (RFC 9110 §10.2.3), one hour at most.

    None when it does not say, or says it in an unknown way; a date in the past is 0.
    """
    folded = {name.lower(): value.strip() for name, value in headers.items()}
    seconds = _number(folded.get("retry-after-ms"), scale=0.001)
    if seconds is None:
        seconds = _number(folded.get("retry-after"))
    if seconds is None:
        seconds = _seconds_until(folded.get("retry-after"), at)
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _number(text: str | None, *, scale: float = 1.0) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value * scale if math.isfinite(value) else None


def _seconds_until(text: str | None, at: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    # A date in HTTP is UTC; "-0000" leaves it naive.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - at).total_seconds()


def answer_failure(subject: str, response: httpx2.Response) -> OutboundFailed:
    """The error for an answer that is no success. Its body is not repeated: it may hold personal data."""
    status = response.status_code
    redirected = " (redirects are not followed)" if 300 <= status < 400 else ""
    return OutboundFailed(
        subject,
        f"status={status}{redirected}",
        upstream_status=status,
        retryable=is_retryable(status),
        retry_after=retry_after_seconds(response.headers, now()),
    )


_BROKEN: tuple[tuple[type[httpx2.HTTPError], str, bool], ...] = (
    (BodyTooLarge, "answer too large", False),
    (httpx2.TimeoutException, "timed out", True),
    (httpx2.DecodingError, "answer cannot be unpacked", False),
    (httpx2.ConnectError, "connection failed", True),
    (httpx2.LocalProtocolError, "request not valid", False),
    (httpx2.UnsupportedProtocol, "request not valid", False),
    (httpx2.HTTPError, "connection broken", True),
)
"""What broke, the reason given, and whether trying again may help; the first that fits counts."""


def exchange_failure(subject: str, error: httpx2.HTTPError) -> OutboundFailed:
    """The error for an exchange that broke; the client's own text, which may quote the URL, is left out."""
    if _is_certificate_failure(error):
        return OutboundFailed(subject, "certificate not valid")
    reason, retryable = next((reason, again) for kind, reason, again in _BROKEN if isinstance(error, kind))
    return OutboundFailed(subject, reason, retryable=retryable)


def _is_certificate_failure(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
