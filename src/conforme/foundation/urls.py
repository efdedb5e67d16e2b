"""URLs from outside, taken apart strictly: what two parsers could read in two ways is refused."""

import re
import unicodedata
from dataclasses import dataclass

import httpx2

from conforme.foundation.addresses import Address, MalformedAddress, literal_address
from conforme.foundation.errors import Invalid

MAX_URL_LENGTH = 8192
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.ASCII | re.IGNORECASE)
_PARTS = re.compile(r"//([^/?#]*)([^#]*)")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029\ud800-\udfff]")
_LABELS = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UnsafeUrl(Invalid):
    """URL not allowed"""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart; what is checked is what is connected to."""

    scheme: str
    host: str
    """Lower-case, IDNA-encoded, without brackets; an address in its canonical spelling."""
    port: int
    path: str
    """Path and query, at least `/`."""
    address: Address | None
    """Set when the host is an address rather than a name."""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def at(self, address: str) -> str:
        """The same URL with the host replaced by one of its addresses."""
        host = f"[{address}]" if ":" in address else address
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_url(url: str, subject: str) -> Target:
    """Takes a URL apart, strictly: what two parsers could read in two ways is refused.

    Raises `UnsafeUrl` with the messages of spec/automation §8.
    """
    malformed = UnsafeUrl(f"Invalid {subject} format")
    scheme = _SCHEME.match(url)
    if len(url) > MAX_URL_LENGTH or _FORBIDDEN.search(url) or url != url.strip() or not scheme:
        raise malformed
    name = scheme[1].lower()
    if name not in _DEFAULT_PORTS:
        raise UnsafeUrl(f"{subject} must use http or https protocol")
    parts = _PARTS.match(url, scheme.end())
    if not parts:
        raise malformed
    if "@" in parts[1]:
        raise UnsafeUrl(f"{subject} must not include credentials")
    try:
        host, port = _split_port(parts[1], _DEFAULT_PORTS[name])
        host = _plain_host(host)
        address = literal_address(host)
    except ValueError:
        raise malformed from None
    path = parts[2] if parts[2].startswith("/") else f"/{parts[2]}"
    return Target(name, str(address) if address else host, port, path, address)


def _split_port(authority: str, default: int) -> tuple[str, int]:
    host, separator, port = authority.rpartition(":")
    if not separator or authority.endswith("]"):
        return authority, default
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError("not a port")
    return host, int(port)


def _plain_host(host: str) -> str:
    """The host as it goes on the wire; raises ValueError when there is none or it hides something."""
    if host.startswith("[") and host.endswith("]"):
        inside = host[1:-1].lower()
        if ":" not in inside:
            raise MalformedAddress("not an IPv6 address")
        return inside
    folded = unicodedata.normalize("NFKC", host).lower()
    if not folded.isascii():
        folded = _idna(folded)
    folded = folded.removesuffix(".")
    if len(folded) > 253 or not _LABELS.fullmatch(folded):
        raise ValueError("not a host")
    return folded


def _idna(host: str) -> str:
    try:
        return httpx2.URL(scheme="http", host=host).raw_host.decode("ascii")
    except httpx2.InvalidURL:
        raise ValueError("not a host") from None
