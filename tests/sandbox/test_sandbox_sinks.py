"""The simulated Pusher, webhook receiver and mail server, and the sandbox that holds all services together."""

import asyncio
import hashlib
import hmac
import json
import smtplib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any
from unittest.mock import ANY
from urllib.parse import urlencode

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from conforme.sandbox.chassis import Service, in_thread
from conforme.sandbox.pusher import PusherDesk, PusherKeys, signed
from conforme.sandbox.smtp import SmtpSink
from conforme.sandbox.weather import FaultPlan
from conforme.sandbox.webhooks import ScriptedAnswer, WebhookSink
from conforme.sandbox.world import Ports, Sandbox, SandboxOptions, serve
from conforme.settings import Settings

KEYS = PusherKeys()


# Pusher


@asynccontextmanager
async def _pusher() -> AsyncGenerator[tuple[PusherDesk, Service, httpx2.AsyncClient]]:
    desk = PusherDesk()
    async with desk.service() as service, httpx2.AsyncClient(base_url=service.url) as client:
        yield desk, service, client


def _event(**fields: Any) -> dict[str, Any]:
    return {"name": "audit.started", "channels": ["private-audit-1"], "data": '{"audit_id":"1"}'} | fields


def _signed(path: str, body: bytes, **changed: str) -> str:
    query = {
        "auth_key": KEYS.key,
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "body_md5": hashlib.md5(body, usedforsecurity=False).hexdigest(),
    } | changed
    return f"{path}?{urlencode(query | {'auth_signature': signed(KEYS.secret, 'POST', path, query)})}"


async def _publish(
    client: httpx2.AsyncClient, what: Any, path: str = "events", **changed: str
) -> httpx2.Response:
    body = json.dumps(what).encode()
    return await client.post(_signed(f"/apps/{KEYS.app_id}/{path}", body, **changed), content=body)


def test_the_signature_is_the_one_that_the_provider_documents() -> None:
    query = {
        "auth_key": "278d425bdf160c739803",
        "auth_timestamp": "1353088179",
        "auth_version": "1.0",
        "body_md5": "ec365a775a4cd0599faeb73354201b6f",
    }
    expected = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
    assert signed("7ad3773142a6692b25b8", "POST", "/apps/3/events", query) == expected


async def test_a_signed_event_is_kept() -> None:
    async with _pusher() as (desk, service, client):
        assert (await _publish(client, _event())).json() == {}
        batch = {"batch": [_event(name="a", channel="private-global", channels=None), _event(name="b")]}
        assert (await _publish(client, batch, "batch_events")).status_code == 200
        published = service.counts()["published"]
    assert [event.name for event in desk.events] == ["audit.started", "a", "b"]
    assert desk.events[1].channels == ("private-global",)
    assert published[0]["data"] == '{"audit_id":"1"}'


@pytest.mark.parametrize(
    "changed",
    [
        {"auth_key": "another"},
        {"auth_version": "2.0"},
        {"auth_timestamp": "1353088179"},
        {"auth_timestamp": "soon"},
        {"body_md5": "0" * 32},
    ],
)
async def test_an_event_that_is_not_signed_as_it_should_is_refused(changed: dict[str, str]) -> None:
    async with _pusher() as (desk, _, client):
        assert (await _publish(client, _event(), **changed)).status_code == 401
        assert desk.events == []


async def test_a_body_changed_after_signing_is_refused() -> None:
    async with _pusher() as (_, _, client):
        path = f"/apps/{KEYS.app_id}/events"
        answer = await client.post(
            _signed(path, b"{}").replace("auth_signature=", "auth_signature=0"), content=b"{}"
        )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (_event(data="x" * 10_241), 413),
        (_event(data={"not": "text"}), 400),
        (_event(name=""), 400),
        (_event(channels=["private:colon"]), 400),
        (_event(channels=[f"private-{n}" for n in range(101)]), 400),
        ([], 400),
    ],
)
async def test_an_event_against_the_rules_is_refused(event: Any, status: int) -> None:
    async with _pusher() as (desk, _, client):
        assert (await _publish(client, event)).status_code == status
        assert desk.events == []


async def test_a_batch_holds_ten_events() -> None:
    async with _pusher() as (_, _, client):
        assert (await _publish(client, {"batch": [_event()] * 11}, "batch_events")).status_code == 400


def _said(text: str | bytes) -> tuple[str, Any]:
    message = json.loads(text)
    data = message["data"]
    return message["event"], json.loads(data) if isinstance(data, str) else data


async def test_a_client_subscribes_by_signature_and_hears_what_is_published() -> None:
    async with _pusher() as (desk, service, client):
        address = f"{service.url.replace('http', 'ws')}/app/{KEYS.key}?protocol=7"
        async with connect(address, proxy=None) as socket:
            event, data = _said(await socket.recv())
            assert event == "pusher:connection_established"
            line = f"{data['socket_id']}:private-audit-1".encode()
            auth = f"{KEYS.key}:{hmac.new(KEYS.secret.encode(), line, 'sha256').hexdigest()}"
            for given in (f"{KEYS.key}:forged", auth):
                asked = {"channel": "private-audit-1", "auth": given}
                await socket.send(json.dumps({"event": "pusher:subscribe", "data": asked}))
            await socket.send(json.dumps({"event": "pusher:ping", "data": {}}))
            assert [_said(await socket.recv())[0] for _ in range(3)] == [
                "pusher:subscription_error",
                "pusher_internal:subscription_succeeded",
                "pusher:pong",
            ]
            await _publish(client, _event())
            await _publish(client, _event(channels=["private-audit-2"]))
            assert _said(await socket.recv()) == ("audit.started", {"audit_id": "1"})
            await socket.send(
                json.dumps({"event": "pusher:unsubscribe", "data": {"channel": "private-audit-1"}})
            )
            await _publish(client, _event())
            await socket.send("waltz")
            assert _said(await socket.recv())[1]["code"] == 4200
        assert len(desk.events) == 3


@pytest.mark.parametrize(("path", "code"), [("unknown?protocol=7", 4001), (f"{KEYS.key}?protocol=4", 4007)])
async def test_a_client_of_another_application_or_protocol_is_sent_away(path: str, code: int) -> None:
    async with (
        PusherDesk().service() as service,
        connect(f"{service.url.replace('http', 'ws')}/app/{path}", proxy=None) as socket,
    ):
        assert _said(await socket.recv()) == ("pusher:error", {"code": code, "message": ANY})
        with pytest.raises(ConnectionClosed):
            await socket.recv()


# Webhooks


async def test_a_receiver_keeps_what_it_was_sent_and_answers_by_its_script() -> None:
    sink = WebhookSink()
    sink.script("a", [ScriptedAnswer(status=503, retry_after="7"), ScriptedAnswer(status=410)])
    async with sink.service() as service, httpx2.AsyncClient(base_url=service.url) as client:
        answers = [
            await client.post("/hooks/a", content=b'{"n":1}', headers={"webhook-id": "m1"}) for _ in range(3)
        ]
        other = await client.post("/hooks/b")
    assert [answer.status_code for answer in answers] == [503, 410, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert other.status_code == 200
    assert [delivery.receiver for delivery in sink.deliveries] == ["a", "a", "a", "b"]
    assert (sink.deliveries[0].body, sink.deliveries[0].headers["webhook-id"]) == ('{"n":1}', "m1")


async def test_a_script_is_set_and_deliveries_are_read_from_outside() -> None:
    async with WebhookSink().service() as service, httpx2.AsyncClient(base_url=service.url) as client:
        script = {"receiver": "a", "answers": [{"status": 302, "location": "http://169.254.169.254/"}]}
        assert (await client.post("/__sandbox__/script", json=script)).json() == {"waiting": 1}
        assert (await client.post("/__sandbox__/script", json={"receiver": "a"})).status_code == 400
        moved = await client.post("/hooks/a", content=b"hello")
        counts = (await client.get("/__sandbox__/counts")).json()
    assert (moved.status_code, moved.headers["location"]) == (302, "http://169.254.169.254/")
    assert [delivery["body"] for delivery in counts["deliveries"]] == ["hello"]
    assert list(counts["routes"]) == ["POST /hooks/{receiver:path}"]


# Mail


def _mail() -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "conforme@example.test", "equipe@example.test", "Échéance"
    mail.set_content(".une ligne qui commence par un point\nÀ bientôt\n")
    return mail


def test_a_message_arrives_as_it_was_written() -> None:
    with in_thread(SmtpSink()) as sink:
        with smtplib.SMTP("127.0.0.1", sink.port) as client:
            client.login("anyone", "anything")
            client.send_message(_mail())
            client.send_message(_mail(), to_addrs=["a@example.test", "b@example.test"])
        first, second = sink.mails
    assert first.sender == "conforme@example.test"
    assert first.message["Subject"] == "Échéance"
    assert first.message.get_content().startswith(".une ligne qui commence par un point")
    assert second.recipients == ("a@example.test", "b@example.test")


def test_a_refused_message_is_not_kept() -> None:
    with in_thread(SmtpSink()) as sink:
        sink.refusal = "451 try again later"
        with smtplib.SMTP("127.0.0.1", sink.port) as client, pytest.raises(smtplib.SMTPDataError):
            client.send_message(_mail())
        assert sink.mails == []


async def test_commands_out_of_order_are_told_so() -> None:
    async with SmtpSink() as sink:
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        replies: list[bytes] = [await reader.readline()]
        for command in ("RCPT TO:<a@example.test>", "DATA", "WALTZ", "AUTH WALTZ", "NOOP", "QUIT"):
            writer.write(f"{command}\r\n".encode())
            replies.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
    assert [reply[:3] for reply in replies] == [b"220", b"503", b"503", b"500", b"504", b"250", b"221"]


# The whole


async def test_the_environment_points_the_product_at_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Sandbox(SandboxOptions(seed=3)) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        assert settings.crm_base_url == f"{sandbox.crm.url}/api"
        assert settings.openai_base_url == f"{sandbox.model.url}/v1"
        assert settings.elevenlabs_base_url == sandbox.speech.url
        assert settings.outbound_allowed_origins == (sandbox.crm.url,)
        assert settings.fiche_api_auth_token is not None
        async with httpx2.AsyncClient() as client:
            token = settings.fiche_api_auth_token.get_secret_value()
            answer = await client.get(
                f"{settings.crm_base_url}/fiches/sales-with-calls",
                params={"start_date": "2026-11-17", "end_date": "2026-11-17"},
                headers={"authorization": f"Bearer {token}"},
            )
        assert answer.json()["total"] == 12
        assert sandbox.counts()["crm"]["routes"]["GET /api/fiches/sales-with-calls"]["answered"] == 1
        assert sandbox.planted() == {"fabricated_quotes": 0, "quotes": []}


async def test_faults_strike_the_providers_and_not_the_sinks() -> None:
    async with (
        Sandbox(SandboxOptions(faults=FaultPlan(down=True))) as sandbox,
        httpx2.AsyncClient() as client,
    ):
        assert (await client.get(f"{sandbox.crm.url}/health")).status_code == 503
        assert (await client.get(f"{sandbox.model.url}/v1/models")).status_code == 503
        assert (await client.post(f"{sandbox.webhooks.url}/hooks/a")).status_code == 200


async def test_the_sandbox_serves_until_it_is_told_to_stop() -> None:
    announced: asyncio.Queue[Sandbox] = asyncio.Queue()
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(SandboxOptions(), announced.put_nowait, stop))
    sandbox = await announced.get()
    addresses = sandbox.addresses()
    assert set(addresses) == {"crm", "speech", "model", "pusher", "webhooks", "smtp"}
    async with httpx2.AsyncClient() as client:
        for name in set(addresses) - {"smtp"}:
            counts = await client.get(f"{addresses[name]}/__sandbox__/counts")
            assert counts.json()["service"] == name
        stop.set()
        await serving
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"{addresses['crm']}/health")


async def test_a_port_already_taken_leaves_nothing_open() -> None:
    async with Sandbox() as first:
        second = Sandbox(SandboxOptions(ports=Ports(model=first.model.port)))
        with pytest.raises(OSError, match="in use"):
            await second.__aenter__()
        async with httpx2.AsyncClient() as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(f"{second.crm.url}/health")
