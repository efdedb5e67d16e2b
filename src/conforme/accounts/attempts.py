"""How often something may be tried: counted for all replicas together, before it is known whether it succeeds.

An attempt is counted and committed first and taken back when it succeeds: however many are made at once, no more are
looked at than the limit allows. Keys are keyed hashes: the table names no account and no address.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass

from sqlalchemy import text

from conforme.accounts.access_tokens import signing_key
from conforme.foundation.errors import TooMany
from conforme.foundation.resources import Resources
from conforme.settings import Settings

COUNT = text(
    """
    insert into attempts (key, window_ends, count) values (:key, now() + make_interval(secs => :window), 1)
    on conflict (key) do update set
      count = case when attempts.window_ends <= now() then 1 else attempts.count + 1 end,
      window_ends = case when attempts.window_ends <= now() then excluded.window_ends else attempts.window_ends end
    returning count, ceil(extract(epoch from window_ends - now()))::int as seconds
    """
)
TAKE_BACK = text("update attempts set count = count - 1 where key = :key and count > 0")
FORGET = text("delete from attempts where key = :key")
MANY_ADDRESSES = 64
"""Bits of an IPv6 address that one subscriber has for themselves: the rest names a network of one owner."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many attempts one key has within a window."""

    key: str
    most: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What an attempt counts against. Each is counted only where those before it let it pass.

    So an address that is over its own limit cannot use up what others have left for an account.
    """

    address: Limit
    account: tuple[Limit, ...] = ()
    """From that address, and from anywhere."""

    @classmethod
    def of(cls, settings: Settings, address: str | None, email: str | None = None) -> "Limits":
        """Those of an address, and of an account where one is named, whether it exists or not."""
        network = network_of(address)
        limit = Limit(_key(settings, "address", network), settings.auth_attempts_per_address)
        if email is None:
            return cls(limit)
        most = settings.auth_attempts_per_account
        from_here = Limit(_key(settings, "account", email, network), -(-most // 2))
        return cls(limit, (from_here, Limit(_key(settings, "account", email), most)))


def network_of(address: str | None) -> str:
    """What is taken for one caller: an IPv4 address, a /64 of IPv6, or whatever else the server calls its peer."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((int(known), MANY_ADDRESSES), strict=False))


def _key(settings: Settings, kind: str, *parts: str) -> str:
    secret = signing_key(settings).get_secret_value().encode()
    return f"{kind}:{hmac.new(secret, chr(0).join((kind, *parts)).encode(), hashlib.sha256).hexdigest()}"


async def count(resources: Resources, limits: Limits) -> None:
    """Counts one attempt, committed when this returns.

    Raises:
        TooMany: a limit is reached; the answer is the same whether the account exists or not.
    """
    window = resources.settings.auth_attempts_window_seconds
    async with resources.database.engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for limit in (limits.address, *limits.account):
            tried, seconds = (await plain.execute(COUNT, {"key": limit.key, "window": window})).one()
            if tried > limit.most:
                raise TooMany(retry_after=max(1, seconds))


async def succeeded(resources: Resources, limits: Limits) -> None:
    """Takes an attempt back: off the address by one, and off the account all that failed before it."""
    async with resources.database.engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(TAKE_BACK, {"key": limits.address.key})
        for limit in limits.account:
            await plain.execute(FORGET, {"key": limit.key})
