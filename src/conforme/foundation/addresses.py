"""Which addresses an outside URL may reach: pure classification, no name is resolved here.

Sources: the IANA special-purpose address registries (RFC 6890), RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380
(Teredo), RFC 5214 (ISATAP), and the metadata addresses of the large clouds.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_CLOSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and one cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's platform service on an address that looks public
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, retired
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

_GLOBAL_V6 = IPv6Network("2000::/3")
"""All of IPv6 that is assigned as global unicast; whatever lies outside is refused without being named."""

_CLOSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3ffe::/16",  # 6bone, retired
        "3fff::/20",  # documentation
    )
)

_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})

_NUMERIC_LAST_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_MAX_IPV4_TEXT = 64
_DIGITS = "0123456789abcdef"


class MalformedAddress(ValueError):
    """A host that a client would read as a number, but that is no address."""


def is_public(address: Address) -> bool:
    """Whether `address` is globally reachable unicast, judging an embedded IPv4 address by itself.

    IPv4-mapped and NAT64 addresses stand for the IPv4 address they carry. The other transition forms (6to4, Teredo,
    IPv4-compatible, translated) are refused whatever they carry: nothing honest is served from them.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address.scope_id is not None:
        return False
    if address in _MAPPED or address in _NAT64:
        return is_public(_low_ipv4(address))
    if address not in _GLOBAL_V6 or any(address in network for network in _CLOSED_V6):
        return False
    return not _is_isatap(address) or is_public(_low_ipv4(address))


def _low_ipv4(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_isatap(address: IPv6Address) -> bool:
    return (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP


def literal_address(host: str) -> Address | None:
    """The address that `host` (lower-case, without brackets or final dot) spells, None when it is a name.

    Reads IPv4 as browsers and `inet_aton` do: one to four parts, each decimal, octal (0…) or hexadecimal (0x…), the
    last one filling the rest. Raises `MalformedAddress` for what only looks like one (WHATWG URL, "ends in a number").
    """
    if ":" in host:
        return _ipv6(host)
    labels = host.split(".")
    if not _NUMERIC_LAST_LABEL.fullmatch(labels[-1]):
        return None
    if len(host) > _MAX_IPV4_TEXT or len(labels) > 4:
        raise MalformedAddress("not an IPv4 address")
    return _ipv4([_number(label) for label in labels])


def _ipv6(host: str) -> IPv6Address:
    try:
        address = ip_address(host)
    except ValueError:
        raise MalformedAddress("not an IPv6 address") from None
    if isinstance(address, IPv4Address) or address.scope_id is not None:
        raise MalformedAddress("not a plain IPv6 address")
    return address


def _number(label: str) -> int:
    if not label:
        raise MalformedAddress("not an IPv4 address")
    digits, base = label, 10
    if label.startswith("0x"):
        digits, base = label[2:] or "0", 16
    elif len(label) > 1 and label.startswith("0"):
        digits, base = label[1:], 8
    if not set(digits) <= set(_DIGITS[:base]):
        raise MalformedAddress("not an IPv4 address")
    return int(digits, base)


def _ipv4(numbers: list[int]) -> IPv4Address:
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        raise MalformedAddress("not an IPv4 address")
    value = last
    for position, head in enumerate(heads):
        value += head << (8 * (3 - position))
    return IPv4Address(value)
