"""The conventions of the wire, seen from outside (spec/http-auth §1)."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from conforme.app import static_segments
from conforme.foundation.border import check_json
from conforme.foundation.errors import Invalid, InvalidJson
from conforme.foundation.web import INT64_MAX, Page, path_id


async def test_health_says_who_answers(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/health", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["x-backend-instance"]
    body = answer.json()
    assert body["status"] == "ok"
    assert body["service"] == "conforme"
    assert body["timestamp"].endswith("Z")
    assert isinstance(body["instance"], str)


async def test_ready_means_the_database_answers_and_the_engine_beats(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": True, "engine": True}


async def test_the_reference_is_served_from_our_own_origin(api: httpx2.AsyncClient) -> None:
    page = await api.get("/api-docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    document = (await api.get("/api-docs.json")).json()
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Conforme API"
    assert "/api/audits/run" in document["paths"]


async def test_an_unknown_route_is_named_without_the_values_of_its_query(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/api/does-not-exist?x=MARTEL")
    assert answer.status_code == 404
    assert answer.json() == {
        "success": False,
        "error": "Route with ID '/api/does-not-exist?x=[redacted]' not found",
        "code": "NOT_FOUND",
    }


async def test_a_stranger_learns_nothing_of_which_routes_exist(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/api/does-not-exist", headers={"Authorization": ""})
    assert answer.status_code == 401
    assert answer.json()["code"] == "AUTHENTICATION_ERROR"


async def test_outside_the_api_an_unknown_path_is_a_page(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/<script>alert(1)</script>")
    assert answer.status_code == 404
    assert "Cannot GET" in answer.text
    assert "<script>" not in answer.text


async def test_a_wrong_method_is_not_found(api: httpx2.AsyncClient) -> None:
    assert (await api.put("/api/audits")).status_code == 404
    assert (await api.put("/health")).status_code == 404


async def test_case_and_a_trailing_slash_do_not_matter(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/API/Audits/")).status_code == 200
    assert (await api.get("/Health/")).status_code == 200


def test_the_case_of_every_word_of_a_path_is_folded(api_app: FastAPI) -> None:
    words = {word for path in api_app.openapi()["paths"] for word in path.split("/")}
    assert {word for word in words if word and "{" not in word} <= static_segments()


async def test_malformed_json_is_told_before_anybody_asks_who_calls(api: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json", "Authorization": ""}
    for body in (b'{"broken":', b"3", b'"text"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'):
        answer = await api.post("/api/audits/run", content=body, headers=headers)
        assert answer.status_code == 400, body[:20]
        assert answer.json() == {"success": False, "error": "Invalid JSON body", "code": "INVALID_JSON"}


async def test_a_missing_or_foreign_body_counts_as_an_empty_object(api: httpx2.AsyncClient) -> None:
    for headers in ({}, {"Content-Type": "text/plain"}):
        answer = await api.post("/api/audits/run", content=b"anything" if headers else b"", headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"] == "Missing required parameters"


async def test_an_oversize_body_is_refused_with_its_own_status(api: httpx2.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b"x" * 1024 * 1024
            await asyncio.sleep(0)

    headers = {"Content-Type": "application/json"}
    declared = await api.post(
        "/api/audits/run", content=b"{}", headers=headers | {"Content-Length": "99999999"}
    )
    assert (declared.status_code, declared.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    streamed = await api.post("/api/audits/run", content=pieces(), headers=headers)
    assert (streamed.status_code, streamed.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_credentials_are_asked_for_and_the_bearer_wins(api: httpx2.AsyncClient, api_token: str) -> None:
    none = await api.get("/api/audits", headers={"Authorization": ""})
    wrong = await api.get("/api/audits", headers={"Authorization": "Bearer nope", "X-API-Key": api_token})
    key = await api.get("/api/audits", headers={"Authorization": "", "X-API-Key": api_token})
    assert (none.status_code, none.json()["error"]) == (401, "Authentication required")
    assert (wrong.status_code, wrong.json()["error"]) == (401, "Missing or invalid credentials")
    assert key.status_code == 200


async def test_a_request_keeps_the_correlation_id_it_came_with(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/health", headers={"X-Request-Id": "abcdef-12345678"})
    assert answer.headers["x-request-id"] == "abcdef-12345678"
    forged = await api.get("/health", headers={"X-Request-Id": "a b"})
    assert forged.headers["x-request-id"] != "a b"


async def test_nul_characters_are_refused_wherever_they_come_in(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/api/audits?fiche_ids=%00")).status_code == 400
    assert (await api.get("/api/fiches/12%00")).status_code == 400
    answer = await api.post(
        "/api/audits/run", json={"fiche_id": "1", "audit_config_id": 1, "user_id": "a\0b"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "0", "1.5", "0x10", "٣", "9" * 30, str(INT64_MAX + 1), " 1"]
)
def test_what_is_no_id_is_refused_by_name(value: str) -> None:
    with pytest.raises(Invalid, match="Invalid audit_id"):
        path_id(value, "audit_id")


@given(st.integers(1, INT64_MAX))
def test_every_id_of_64_bits_is_read(number: int) -> None:
    assert path_id(str(number), "audit_id") == number


@given(st.binary(max_size=300))
def test_no_body_brings_the_border_down(body: bytes) -> None:
    try:
        check_json(body)
    except InvalidJson:
        return


@given(st.integers(0, 10_000), st.integers(1, 500), st.integers(0, 10_000))
def test_pagination_is_consistent(total: int, limit: int, offset: int) -> None:
    described = Page(limit=limit, offset=offset).describe(total)
    assert described["has_next_page"] == (offset + limit < total)
    assert described["total_pages"] * limit >= total
