"""Redaction: what never reaches a log, and what must survive it."""

import json
import string
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from conforme.foundation.redaction import MAX_STRING, REDACTED, is_sensitive, redact, redact_text


def nir(stem: str) -> str:
    """A social-security number with its key, from thirteen digits."""
    return f"{stem}{97 - int(stem) % 97:02d}"


CANARIES = {
    "NIR of 15 digits": nir("1850675123456"),
    "NIR of 15 digits, spaced": "1 85 06 75 123 456 " + nir("1850675123456")[-2:],
    "NIR of 15 digits, month unknown": nir("2775075123456"),
    "NIR of 13 digits": "2940699123456",
    "NIR of 13 digits, spaced": "2 94 06 99 123 456",
    "NIR of 13 digits, half spaced": "294 0699 123456",
    "NIR of Corsica": "1 85 06 2A 123 456",
    "French IBAN": "FR7630006000011234567890189",
    "French IBAN, spaced": "FR76 3000 6000 0112 3456 7890 189",
    "French IBAN, small letters": "fr76 3000 6000 0112 3456 7890 189",
    "German IBAN": "DE89370400440532013000",
    "British IBAN, spaced": "GB29 NWBK 6016 1331 9268 19",
    "card": "4111 1111 1111 1111",
    "mobile": "0639980012",
    "mobile, spaced": "06 39 98 00 12",
    "mobile, dotted": "06.39.98.00.12",
    "mobile, unevenly spaced": "0639 980 012",
    "land line, dashes": "01-99-00-12-34",
    "international French": "+33 6 39 98 00 12",
    "international French, zero": "+33 (0)6 39 98 00 12",
    "eleven characters": "33639980012",
    "double zero": "0033639980012",
    "British": "+44 7700 900123",
    "American": "+1 (202) 555-0143",
    "e-mail": "jeanne.martin@example.test",
    "e-mail with tag": "jeanne+devis@mail.example.test",
    "bearer": "Bearer canary-value-of-nobody",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "OpenAI key": "sk-proj-abcdefghijklmnop1234",
    "API token of ours": "cfm_ZgBUzuznMl0J01afj_8dStOZ2aRyd5YjRyXrO-Y5nTtNP8ua13hHzLf0S1rCEKMo",
    "webhook secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}

SURVIVORS = [
    "fiche 1762209 refreshed",
    "audit-step-12345-18",
    "run_audit 9876543210 of 12",
    "2026-01-05T09:14:00.123456Z",
    "2026-01-05T09:14:00+02:00",
    "2026-01-05-09-14-00",
    "le 05/01/2026 09:14",
    "le 05-01-2026 09 h",
    "1767600000000",
    "transcribe-12-1760612345678",
    "transcribe-12-1760612345678-2",
    "4f1c2d3e-0123-4567-8901-0123456789ab",
    "01234567-0123-4567-8901-012345678901",
    "0.123456789 seconds, 12 345.67 EUR",
    "prompt_tokens=12000 cached_tokens=8000",
    "tokens_used: 12",
    "http://127.0.0.1:3002/api/audits/12",
    "pid 12345, version 3.11.9",
    "score 87.50 of 100, 18/18 steps",
    "1234567890123456789",
    "pass ?force=true",
    "GET /api/admin/teams?include_users=true&latest=false",
]


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
@pytest.mark.parametrize("around", ["{}", "au {}.", "({})", "numéro {} fin", "a\n{}\nb", "{},{}", '"{}"'])
def test_personal_data_and_secrets_leave_no_trace(canary: str, around: str) -> None:
    seen = redact_text(around.replace("{}", canary))
    assert canary not in seen
    secret = canary.removeprefix("Bearer ")
    assert secret[2:] not in seen
    assert REDACTED in seen


@pytest.mark.parametrize("text", SURVIVORS)
def test_ids_times_and_amounts_survive(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://conforme:hunter2@db.example.test:5432/x", "hunter2"),
        ("GET https://cdn.example.test/a.mp3?signature=abc123&expires=9", "abc123"),
        ("https://x.example.test/?access_token=zzz", "zzz"),
        ("https://x.example.test/?q=trueman&r=false.alarm", "man"),
        ("https://x.example.test/?q=trueman&r=false.alarm", "alarm"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ('{"xi-api-key": "abc def"}', "abc"),
        ("Cookie: sid=1; other=2", "other"),
        ("password=hunter2", "hunter2"),
        ("mot de passe : hunter2", "hunter2"),
        ("client_secret='hunter2'", "hunter2"),
        ("nir:1760612345678", "1760612345678"),
    ],
)
def test_named_values_and_url_secrets_are_taken_out_of_texts(text: str, secret: str) -> None:
    assert secret not in redact_text(text)


@pytest.mark.parametrize(
    "key",
    [
        "authorization", "Authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "password", "db_password",
        "token", "access_token", "accessToken", "api_key", "apiKey", "x-api-key", "xi-api-key", "OPENAI_API_KEY",
        "signing_key", "signingKey", "webhookSecret", "client_secret", "jwt", "tokens", "api_auth_tokens", "api_keys",
        "token_value", "email", "from_number", "téléphone", "Prénom", "numero_securite_sociale", "transcript",
    ],
)  # fmt: skip
def test_sensitive_keys_hide_their_value(key: str) -> None:
    assert is_sensitive(key)
    assert redact({key: "value-of-someone"}) == {key: REDACTED}


@pytest.mark.parametrize(
    "key",
    [
        "fiche_id", "audit_id", "cache_key", "key", "groupe_nom", "author", "tokenizer", "secretariat", "prompt_version",
        "keyword", "model", "cookiecutter", "path", "monkey", "nombre",
    ],
)  # fmt: skip
def test_other_keys_show_their_value(key: str) -> None:
    assert redact({key: "v"}) == {key: "v"}


def test_counts_of_secret_things_survive() -> None:
    counts = {
        "prompt_tokens": 12,
        "tokens_used": 3,
        "cached_tokens": Decimal(4),
        "passwords_changed": 0,
        "tokens": None,
    }
    assert redact(counts) == {**counts, "cached_tokens": "4"}


def test_a_secret_is_hidden_even_as_a_number() -> None:
    assert redact({"token": 123456, "password": 1}) == {"token": REDACTED, "password": REDACTED}


def test_a_social_security_number_is_hidden_even_as_a_number() -> None:
    assert redact({"n": int(nir("1850675123456"))}) == {"n": REDACTED}
    assert redact({"at": 1767600000000, "id": 1762209}) == {"at": 1767600000000, "id": 1762209}


class Colour(StrEnum):
    RED = "red"


def test_values_become_json_and_unknown_objects_are_only_named() -> None:
    value = {
        "when": datetime(2026, 1, 5, tzinfo=UTC),
        "id": UUID(int=1),
        "path": Path("a/b"),
        "colour": Colour.RED,
        "raw": b"123",
        "secret_thing": SecretStr("hunter2"),
        "held": SecretStr("hunter2"),
        "many": {1},
        "nan": float("nan"),
        "big": 10**5000,
        "error": ValueError("call 06 39 98 00 12"),
        7: "seven",
    }
    assert redact(value) == {
        "when": "2026-01-05 00:00:00+00:00",
        "id": str(UUID(int=1)),
        "path": "a/b",
        "colour": "red",
        "raw": "(3 bytes)",
        "secret_thing": REDACTED,
        "held": "<SecretStr>",
        "many": [1],
        "nan": "nan",
        "big": "(a very large integer)",
        "error": f"ValueError: call {REDACTED}",
        "7": "seven",
    }


def test_keys_are_redacted_too() -> None:
    assert redact({"jeanne@example.test": 1}) == {REDACTED: 1}


def test_long_wide_and_deep_values_are_cut_and_say_so() -> None:
    assert redact("a" * 5000) == "a" * MAX_STRING + "… (3000 more)"
    assert redact(list(range(60)))[-1] == "… (10 more)"
    assert redact({str(n): n for n in range(300)})["…"] == "(100 more)"
    deep: Any = 1
    for _ in range(10):
        deep = [deep]
    assert json.dumps(redact(deep)).count("[") == 6


def test_a_value_that_contains_itself_ends() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop, loop]
    json.dumps(redact(loop))


def test_a_wide_and_deep_value_costs_a_bounded_walk() -> None:
    level: Any = "leaf"
    for _ in range(6):
        level = [level] * 50
    assert len(json.dumps(redact(level))) < 200_000


def test_no_secret_is_cut_into_a_shape_that_passes() -> None:
    for lead in range(MAX_STRING - 20, MAX_STRING + 2):
        assert "39980" not in redact_text("x" * (lead - 1) + " " + "0639980012" + " y" * 50)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000, "1 " * 100_000, "0" * 200_000, "a@" * 100_000, "FR76 " * 50_000, "://" * 60_000,
        "?a=" * 60_000, "token" * 50_000, "eyJ" * 60_000, "+1 ()" * 40_000, "bearer " * 30_000, "sk-" * 60_000,
        "1-" * 100_000, '"token": ' * 20_000, "ABCD12" * 40_000,
    ],
)  # fmt: skip
def test_hostile_texts_are_read_in_bounded_steps(text: str) -> None:
    assert len(redact_text(text)) < 3 * MAX_STRING


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=20), inner, max_size=6),
    max_leaves=30,
)


@given(json_values)
def test_whatever_goes_in_json_comes_out(value: Any) -> None:
    json.dumps(redact(value), allow_nan=False)


@given(st.text(max_size=300))
@example("token: [redacted] Bearer [redacted]x")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@given(
    st.sampled_from(sorted(CANARIES.values())),
    st.text(" .,;()\n", max_size=5),
    st.text(" .,;()\n", max_size=5),
)
def test_a_canary_is_found_between_words(canary: str, before: str, after: str) -> None:
    assert canary not in redact_text(f"appel{before or ' '}{canary}{after or ' '}suite")


@given(st.integers(0, 9_999_999), st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_ids_and_times_always_survive(fiche: int, when: datetime, job: UUID) -> None:
    text = f"fiche {fiche} job {job} at {when.isoformat()}"
    assert redact_text(text) == text


@given(st.text(string.ascii_letters + " éèàç'", max_size=400))
def test_words_without_digits_or_signs_survive(text: str) -> None:
    if "eyJ" not in text and "bearer" not in text.lower() and "AKIA" not in text:
        assert redact_text(text) == text
