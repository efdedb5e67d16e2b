"""The chassis of the simulated providers: latency, faults and counts around a protocol's own routes."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.sandbox.chassis import Service, exchange_of, in_thread
from conforme.sandbox.weather import Fault, FaultPlan, Latency


async def _echo(request: Request) -> Response:
    exchange = exchange_of(request)
    exchange.units = 2
    return JSONResponse({"path": request.url.path, "size": len(await request.body()), "filler": "x" * 50})


async def _broken(_: Request) -> Response:
    raise RuntimeError("a defect")


def _service(**options: Any) -> Service:
    routes = [
        Route("/things/{id}", _echo, methods=["GET", "POST"]),
        Route("/broken", _broken),
    ]
    return Service("echo", Starlette(routes=routes), **options)


@asynccontextmanager
async def _running(**options: Any) -> AsyncGenerator[tuple[Service, httpx2.AsyncClient]]:
    async with _service(**options) as service, httpx2.AsyncClient(base_url=service.url) as client:
        yield service, client


def _only(kind: Fault, **fields: Any) -> FaultPlan:
    return FaultPlan(shares={kind: 1.0}, **fields)


async def test_an_undisturbed_request_is_answered_and_counted_under_its_route() -> None:
    async with _running() as (service, client):
        answer = await client.post("/things/7", content=b"12345")
        assert answer.json()["size"] == 5
        counts = service.counts()
    assert counts["routes"]["POST /things/{id}"]["requests"] == 1
    assert counts["routes"]["POST /things/{id}"]["answered"] == 1
    assert counts["routes"]["POST /things/{id}"]["statuses"] == {"200": 1}
    assert counts["in_flight"] == 0


async def test_an_unknown_path_is_neither_counted_nor_disturbed() -> None:
    async with _running(faults=_only(Fault.SERVER_ERROR)) as (service, client):
        assert (await client.get("/nowhere")).status_code == 404
        assert service.counts()["routes"] == {}


async def test_a_rate_limited_request_is_told_how_long_to_wait() -> None:
    async with _running(faults=_only(Fault.RATE_LIMITED, retry_after_seconds=3)) as (_, client):
        answer = await client.get("/things/1")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"


async def test_coming_back_before_retry_after_has_passed_is_counted() -> None:
    async with _running(faults=_only(Fault.RATE_LIMITED, retry_after_seconds=60)) as (service, client):
        await client.get("/things/1")
        await client.get("/things/1")
        await client.get("/things/2")
        assert service.counts()["routes"]["GET /things/{id}"]["early"] == 1


@pytest.mark.parametrize(("kind", "status"), [(Fault.SERVER_ERROR, 500), (Fault.UNAVAILABLE, 503)])
async def test_a_refused_request_is_counted_as_its_fault(kind: Fault, status: int) -> None:
    async with _running(faults=_only(kind)) as (service, client):
        assert (await client.get("/things/1")).status_code == status
        counts = service.counts()["routes"]["GET /things/{id}"]
    assert (counts["answered"], counts["faults"]) == (0, {kind: 1})


async def test_a_hanging_request_ends_in_a_cut_connection() -> None:
    async with _running(faults=_only(Fault.TIMEOUT, hang_seconds=0.05)) as (service, client):
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/things/1")
        assert service.counts()["routes"]["GET /things/{id}"]["faults"] == {Fault.TIMEOUT: 1}


async def test_a_disconnect_cuts_the_answer_in_the_middle() -> None:
    async with _running(faults=_only(Fault.DISCONNECT)) as (_, client):
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/things/1")


async def test_a_malformed_answer_is_200_and_no_json() -> None:
    async with _running(faults=_only(Fault.MALFORMED)) as (_, client):
        answer = await client.get("/things/1")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        answer.json()


async def test_a_client_that_leaves_is_counted_as_abandoned() -> None:
    async with _running(latency=Latency(base_ms=60_000)) as (service, client):
        asking = asyncio.create_task(client.get("/things/1"))
        await _until(lambda: service.tally.in_flight == 1)
        asking.cancel()
        await asyncio.wait({asking})
        await _until(lambda: service.tally.in_flight == 0)
        assert service.counts()["routes"]["GET /things/{id}"]["abandoned"] == 1
        assert service.tally.journal[0].outcome == "abandoned"


async def test_latency_grows_with_the_units_of_the_answer() -> None:
    async with _running(latency=Latency(base_ms=20, per_unit_ms=20)) as (service, client):
        await client.get("/things/1")
        entry = service.tally.journal[0]
    assert entry.ended - entry.arrived >= 0.06


async def test_asking_again_for_what_was_answered_is_a_repeat() -> None:
    async with _running() as (service, client):
        await client.post("/things/1", content=b"same")
        await client.post("/things/1", content=b"same")
        await client.post("/things/1", content=b"other")
        assert service.counts()["routes"]["POST /things/{id}"]["repeated"] == 1
        assert [entry.repeat for entry in service.tally.journal] == [False, True, False]


async def test_the_same_upload_is_the_same_subject_whatever_its_boundary() -> None:
    async with _running() as (service, client):
        for _ in range(2):
            await client.post("/things/1", files={"file": ("a.wav", b"RIFF", "audio/wav")})
        assert service.counts()["routes"]["POST /things/{id}"]["repeated"] == 1


async def test_faults_do_not_depend_on_the_order_of_arrival() -> None:
    outcomes: list[dict[str, int]] = []
    for order in (range(40), reversed(range(40))):
        async with _running(seed=3, faults=FaultPlan(shares={Fault.SERVER_ERROR: 0.5})) as (_, client):
            outcomes.append({str(n): (await client.get(f"/things/{n}")).status_code for n in order})
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0].values()) == {200, 500}


async def test_the_weather_is_changed_and_the_counts_are_read_from_outside() -> None:
    async with _running() as (_, client):
        changed = await client.post("/__sandbox__/faults", json={"down": True, "rate": 0.4})
        assert changed.json()["shares"]["rate_limited"] == pytest.approx(0.1)
        assert (await client.get("/things/1")).status_code == 503
        await client.post("/__sandbox__/faults", json={"down": False, "shares": {}})
        assert (await client.post("/__sandbox__/latency", json={"base_ms": 1})).json()["base_ms"] == 1
        assert (await client.get("/things/1")).status_code == 200
        counts = (await client.get("/__sandbox__/counts")).json()
        journal = (await client.get("/__sandbox__/journal")).json()
        cleared = (await client.post("/__sandbox__/counts")).json()
    assert counts["routes"]["GET /things/{id}"]["faults"] == {"down": 1}
    assert [line["outcome"] for line in journal] == ["down", "answered"]
    assert cleared["routes"] == {}


@pytest.mark.parametrize("body", [b'{"rate": 7}', b'{"shares": {"sunshine": 1}}', b"[]", b"nonsense"])
async def test_a_senseless_weather_is_refused_and_changes_nothing(body: bytes) -> None:
    async with _running() as (service, client):
        assert (await client.post("/__sandbox__/faults", content=body)).status_code == 400
        assert service.faults == FaultPlan()


async def test_a_defect_of_the_simulator_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with _running() as (service, client):
        assert (await client.get("/broken")).status_code == 500
        assert service.counts()["routes"]["GET /broken"]["faults"] == {"broken": 1}
    assert "failed on GET /broken" in caplog.text


async def test_answered_hooks_run_only_once_the_answer_has_left() -> None:
    heard: list[str] = []

    async def listen(request: Request) -> Response:
        exchange_of(request).on_answered.append(lambda: heard.append(request.url.path))
        return JSONResponse({})

    app = Starlette(routes=[Route("/a", listen), Route("/b", listen)])
    async with Service("hooks", app) as service, httpx2.AsyncClient(base_url=service.url) as client:
        await client.get("/a")
        service.faults = _only(Fault.DISCONNECT)
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/b")
    assert heard == ["/a"]


async def test_stopping_cuts_what_is_under_way() -> None:
    service = _service(latency=Latency(base_ms=60_000))
    await service.start()
    async with httpx2.AsyncClient(base_url=service.url) as client:
        asking = asyncio.create_task(client.get("/things/1"))
        await _until(lambda: service.tally.in_flight == 1)
        await service.stop()
        with pytest.raises(httpx2.TransportError):
            await asking
    await service.stop()


def test_a_service_runs_in_a_thread_for_callers_that_block() -> None:
    with in_thread(_service()) as service:
        assert httpx2.get(f"{service.url}/things/1").status_code == 200


@given(
    shares=st.dictionaries(st.sampled_from(Fault), st.floats(0, 1 / 6), max_size=6),
    fraction=st.floats(0, 1, exclude_max=True),
)
def test_a_plan_draws_each_fault_in_its_share(shares: dict[Fault, float], fraction: float) -> None:
    drawn = FaultPlan(shares=shares).draw(fraction)
    assert drawn is None or shares[drawn] > 0
    if fraction >= sum(shares.values()) + 1e-9:
        assert drawn is None
    if fraction < sum(shares.values()) - 1e-9:
        assert drawn is not None


@pytest.mark.parametrize("shares", [{Fault.TIMEOUT: -0.1}, {Fault.TIMEOUT: 0.6, Fault.MALFORMED: 0.6}])
def test_shares_that_do_not_add_up_are_refused(shares: dict[Fault, float]) -> None:
    with pytest.raises(ValidationError):
        FaultPlan(shares=shares)


async def _until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
