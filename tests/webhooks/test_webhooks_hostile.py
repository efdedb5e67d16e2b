"""Where a delivery must never go: refused when it is registered, and again when it is sent; nothing connects."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from webhook_room import (
    ACTOR,
    attempts_of,
    endpoint_of,
    open_turns,
    queued,
    registered,
    resources_of,
    row_of,
    settings_for,
    smuggled,
)

from conforme.foundation.database import Database
from conforme.foundation.outbound import Outbound, UnsafeUrl
from conforme.sandbox.webhooks import ScriptedAnswer, WebhookSink
from conforme.settings import Settings
from conforme.webhooks import outbox, workflows
from hostile_urls import HOSTILE_HOSTS, MALFORMED, OTHER_SCHEMES, WITH_CREDENTIALS

PUBLIC = "93.184.216.34"
ON_THIS_MACHINE = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001",
    "0177.0x0.1", "127.0.0.1.", "0", "0.0.0.0", "0x0", "127.0.0.2", "127.255.255.254",  # noqa: S104 -- refused
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:7F00:0001]",
    "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "localhost", "LOCALHOST", "localhost.", "sub.localhost", "１２７.0.0.1",
    "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "ⓛocalhost", "private.example.test",
]  # fmt: skip
"""Spellings of a machine that does listen: a guard that fails here would be seen to connect."""


NAMES = {
    "127.0.0.1.example:80",
    "private.example.test",
    "xn--fiqs8s.example.test",
    "rebind.example.test",
}
"""Names like any others, until they are looked up."""


class Listener:
    """Counts who connects to this machine."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator["Listener"]:
        server = await asyncio.start_server(self._count, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


async def resolve_to_loopback(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def guarded(**settings: Any) -> Outbound:
    return Outbound(Settings(**settings), resolve=resolve_to_loopback)


async def attempted(
    database: Database, outbound: Outbound, url: str, settings: Settings | None = None
) -> str:
    """Sends a delivery to a URL that passed no check; the delivery's id."""
    resources = resources_of(settings or Settings(), database, outbound)
    delivery_id = await queued(resources, await smuggled(database, url))
    [(_, turn)] = await open_turns(database)
    await workflows.attempt(resources, turn)
    return delivery_id


def test_there_are_enough_of_them() -> None:
    refused = {*HOSTILE_HOSTS, *MALFORMED, *OTHER_SCHEMES, *WITH_CREDENTIALS, *ON_THIS_MACHINE}
    assert len(refused) >= 130


@pytest.mark.parametrize("url", [*MALFORMED, *OTHER_SCHEMES, *WITH_CREDENTIALS])
async def test_no_hostile_url_is_registered(database: Database, url: str) -> None:
    resources = resources_of(Settings(), database)
    with pytest.raises(UnsafeUrl):
        await registered(resources, url)


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_no_hostile_host_is_registered_unless_only_its_name_could_tell(
    database: Database, host: str
) -> None:
    resources = resources_of(Settings(), database)
    if host in NAMES:
        assert await registered(resources, f"https://{host}/hook"), "looked up when it is sent"
        return
    with pytest.raises(UnsafeUrl):
        await registered(resources, f"https://{host}/hook")


async def test_nothing_hostile_is_connected_to_when_it_is_sent(database: Database) -> None:
    """All of them at once, in one database: each ends as a dead letter that says why, and nobody connects."""
    outbound = guarded()
    resources = resources_of(Settings(), database, outbound)
    async with Listener().listening() as listener:
        urls = [f"http://{host}:{listener.port}/hook" for host in ON_THIS_MACHINE]
        urls += [f"http://{host}/hook" for host in HOSTILE_HOSTS]
        urls += [url for url in [*MALFORMED, *OTHER_SCHEMES, *WITH_CREDENTIALS] if storable(url)]
        for url in urls:
            await refused_when_sent(resources, url)
        assert listener.connections == 0
        # The listener does listen.
        trusting = Outbound(Settings(webhook_allowed_origins=(f"http://127.0.0.1:{listener.port}",)))
        await trusting.post(f"http://127.0.0.1:{listener.port}/", body=b"{}", headers={}, timeout=20)
        assert listener.connections == 1
    assert len(urls) >= 150


def storable(url: str) -> bool:
    return "\0" not in url and "\ud800" not in url


async def refused_when_sent(resources: Any, url: str) -> None:
    endpoint_id = await smuggled(resources.database, url)
    delivery_id = await queued(resources, endpoint_id)
    for _, turn in await open_turns(resources.database):
        await workflows.attempt(resources, turn)
    row = await row_of(resources.database, delivery_id)
    assert (row.status, row.attempt, row.status_code) == ("failed", 1, None), url
    assert row.response_body is not None
    assert row.response_body.startswith(("webhookUrl ", "Invalid webhookUrl")), url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://", "Invalid webhookUrl format"),
        ("ftp://example.test/", "webhookUrl must use http or https protocol"),
        ("http://user:secret@example.test/", "webhookUrl must not include credentials"),
        ("http://localhost/", "webhookUrl hostname not allowed"),
        ("http://printer.local/", "webhookUrl hostname not allowed"),
        ("http://10.0.0.1/", "webhookUrl IP not allowed"),
        ("http://[::1]/", "webhookUrl IP not allowed"),
        ("http://2130706433/", "webhookUrl IP not allowed"),
    ],
)
async def test_a_refusal_is_worded_as_the_contract_says(database: Database, url: str, message: str) -> None:
    resources = resources_of(Settings(), database)
    with pytest.raises(UnsafeUrl) as caught:
        await registered(resources, url)
    assert caught.value.message == message
    delivery_id = await attempted(database, guarded(), url)
    assert (await row_of(database, delivery_id)).response_body == message


async def test_a_list_of_origins_admits_them_alone_at_both_moments(database: Database) -> None:
    settings = Settings(webhook_allowed_origins=("https://hooks.example.test",))
    resources = resources_of(settings, database)
    assert await registered(resources, "https://hooks.example.test/a")
    message = (
        "webhookUrl origin not allowed (set WEBHOOK_ALLOWED_ORIGINS). Got https://other.example.test:8443"
    )
    with pytest.raises(UnsafeUrl) as caught:
        await registered(resources, "https://other.example.test:8443/a?token=1")
    assert caught.value.message == message
    delivery_id = await attempted(database, Outbound(settings), "https://other.example.test:8443/a")
    assert (await row_of(database, delivery_id)).response_body == message


async def test_an_origin_that_recordings_may_come_from_is_none_that_webhooks_may_reach(
    database: Database,
) -> None:
    async with Listener().listening() as listener:
        origin = f"http://127.0.0.1:{listener.port}"
        settings = Settings(outbound_allowed_origins=(origin,))
        with pytest.raises(UnsafeUrl, match="webhookUrl IP not allowed"):
            await registered(resources_of(settings, database), f"{origin}/a")
        await attempted(database, Outbound(settings), f"{origin}/a")
        assert listener.connections == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "hooks.localhost", "dev-box.local"])
async def test_a_developers_own_machine_is_reached_outside_production_and_nothing_else_of_the_inside(
    database: Database, host: str
) -> None:
    development = Settings(node_env="development")
    async with Listener().listening() as listener:
        url = f"http://{host}:{listener.port}/hook"
        outbound = Outbound(development, resolve=resolve_to_loopback)
        delivery_id = await attempted(database, outbound, url, development)
        assert (await row_of(database, delivery_id)).status == "sent"
        assert listener.connections == 1
        for inside in ("10.0.0.1", "127.0.0.2", "169.254.169.254", "[fd00::1]", "metadata", "db.internal"):
            with pytest.raises(UnsafeUrl):
                outbound.check(f"http://{inside}/", outbox.WEBHOOK_URL)


async def test_a_redirect_from_an_allowed_host_to_the_inside_is_not_followed(database: Database) -> None:
    sink = WebhookSink()
    async with sink.service() as service, Listener().listening() as listener:
        sink.script("a", [ScriptedAnswer(status=307, location=f"http://127.0.0.1:{listener.port}/")])
        url = f"{service.url}/hooks/a"
        settings = settings_for(url)
        delivery_id = await attempted(database, Outbound(settings), url, settings)
        assert listener.connections == 0
    [log] = await attempts_of(database, delivery_id)
    assert (log.status_code, log.error) == (307, "HTTP 307 (redirects are not followed)")
    assert (await row_of(database, delivery_id)).status == "pending"


async def test_a_name_rebound_between_check_and_connection_gains_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is public, all later ones this machine: the connection goes to the answer that was checked."""
    reached: list[str] = []
    answers = [[PUBLIC]]

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0) if answers else ["127.0.0.1"]

    async def no_network(_transport: object, request: httpx2.Request) -> httpx2.Response:
        reached.append(request.url.host)
        raise httpx2.ConnectError("there is no network here")

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", no_network)
    resources = resources_of(Settings(), database, Outbound(Settings(), resolve=rebinding))
    delivery_id = await queued(resources, await registered(resources, "http://rebind.example.test/hook"))
    for _ in range(2):
        [(_, turn)] = await open_turns(database)
        await workflows.attempt(resources, turn)
    assert reached == [PUBLIC]
    first, second = await attempts_of(database, delivery_id)
    assert first.error == "connection failed"
    assert second.error == "webhookUrl IP not allowed"
    assert (await row_of(database, delivery_id)).status == "failed"


@pytest.mark.parametrize("secret", ["x" * 257, " ", "a\nb", "a\0b"])
async def test_a_secret_that_cannot_be_one_is_refused_without_being_repeated(
    database: Database, secret: str
) -> None:
    resources = resources_of(Settings(), database)
    with pytest.raises(Exception, match="webhookSecret must have") as caught:
        await registered(resources, "https://hooks.example.test/a", secret)
    assert secret not in str(caught.value) or secret == " "


async def test_who_asked_is_kept_with_the_endpoint(database: Database) -> None:
    resources = resources_of(Settings(), database)
    endpoint_id = await registered(resources, "https://hooks.example.test/a")
    assert outbox.asker_of(await endpoint_of(database, endpoint_id)) == ACTOR
