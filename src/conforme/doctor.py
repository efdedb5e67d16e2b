"""`conforme doctor`: what is configured, reachable and missing, in plain words."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg

from conforme.foundation.embedded import database_url
from conforme.foundation.llm import endpoint_of, missing_key
from conforme.foundation.migrate import pending
from conforme.realtime.pusher import PusherAccess
from conforme.settings import Settings

REACH_SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    """One line; `needed` tells that the main job could not run without it."""

    what: str
    ok: bool
    said: str
    needed: bool = True


def examine(settings: Settings) -> list[Finding]:
    """Looks at everything the main job stands on; touches no provider that costs money."""
    return [*_database(settings), *_providers(settings), *_live(settings), *_access(settings)]


def _database(settings: Settings) -> Iterator[Finding]:
    where = "DATABASE_URL" if settings.database_url else f"embedded, under {settings.data}"
    try:
        with database_url(settings) as url:
            with psycopg.connect(
                url.replace("+psycopg", ""), connect_timeout=int(REACH_SECONDS)
            ) as connection:
                version = connection.info.server_version // 10_000
            waiting = pending(url)
    except (psycopg.Error, OSError, ValueError, RuntimeError) as error:
        yield Finding("database", ok=False, said=f"{where}: not reachable ({type(error).__name__})")
        return
    yield Finding("database", ok=True, said=f"PostgreSQL {version} ({where})")
    if waiting:
        said = f"{len(waiting)} pending: run `conforme migrate` (serve and demo do it by themselves)"
        yield Finding("migrations", ok=True, said=said, needed=False)
    else:
        yield Finding("migrations", ok=True, said="up to date")


def _providers(settings: Settings) -> Iterator[Finding]:
    if settings.crm_base_url:
        yield _reachable("CRM gateway", settings.crm_base_url, "FICHE_API_BASE_URL")
    else:
        yield Finding("CRM gateway", ok=False, said="no address: set FICHE_API_BASE_URL")
    if settings.elevenlabs_api_key is None:
        yield Finding("speech to text", ok=False, said="no key: set ELEVENLABS_API_KEY")
    else:
        yield _reachable("speech to text", settings.elevenlabs_base_url, settings.elevenlabs_model)
    lacking = missing_key(settings)
    endpoint = endpoint_of(settings)
    if lacking:
        yield Finding("language model", ok=False, said=f"no key: set {lacking}")
    elif endpoint.base_url:
        yield _reachable("language model", endpoint.base_url, f"{endpoint.model}, {endpoint.provider}")
    else:
        said = f"{endpoint.model} at {endpoint.provider}'s own address (key set, not tried)"
        yield Finding("language model", ok=True, said=said)


def _live(settings: Settings) -> Iterator[Finding]:
    """How live events leave this replica; without either they do all the same."""
    if settings.redis_url is None:
        yield Finding("wake-ups", ok=True, said="through PostgreSQL (REDIS_URL is not set)")
    else:
        yield _redis(settings.redis_url.get_secret_value())
    access = PusherAccess.of(settings)
    if access is None:
        yield Finding("Pusher", ok=True, said="not configured: events are on streams alone")
    elif access.dry_run:
        yield Finding("Pusher", ok=True, said=f"{access.base_url}: PUSHER_DRY_RUN, nothing is sent")
    else:
        yield replace(_reachable("Pusher", access.base_url, f"application {access.app_id}"), needed=False)


def _redis(url: str) -> Finding:
    """Never tells the address, which may hold a password."""
    try:
        asyncio.run(_redis_answers(url))
    except Exception as error:  # noqa: BLE001 -- whatever goes wrong is what we were asked to tell
        said = f"REDIS_URL: not reachable ({type(error).__name__}); replicas look once a second meanwhile"
        return Finding("wake-ups", ok=False, said=said, needed=False)
    return Finding("wake-ups", ok=True, said="through Redis (REDIS_URL)")


async def _redis_answers(url: str) -> None:
    from redis.asyncio import Redis

    redis = Redis.from_url(url, socket_connect_timeout=REACH_SECONDS, socket_timeout=REACH_SECONDS)
    try:
        await redis.execute_command("PING")
    finally:
        await redis.aclose()


def _access(settings: Settings) -> Iterator[Finding]:
    count = len(settings.api_tokens)
    said = f"{count} API token(s)" if count else "nobody can call the API: set API_AUTH_TOKENS"
    yield Finding("access", ok=count > 0, said=said, needed=False)


def _reachable(what: str, url: str, said: str) -> Finding:
    try:
        status = asyncio.run(_status(url))
    except Exception as error:  # noqa: BLE001 -- whatever goes wrong is what we were asked to tell
        return Finding(what, ok=False, said=f"{url} ({said}): not reachable ({type(error).__name__})")
    return Finding(what, ok=status < 500, said=f"{url} ({said}): answers {status}")


async def _status(url: str) -> int:
    import httpx2

    async with httpx2.AsyncClient(timeout=REACH_SECONDS, follow_redirects=False, trust_env=False) as client:
        return (await client.get(url)).status_code
