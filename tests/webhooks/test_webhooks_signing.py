"""Headers and signatures, checked by verifiers that do not share our code."""

import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from webhook_room import SECRET, contract_signatures

from conforme.foundation.database import now
from conforme.webhooks.schedule import attempts_of_a_round, wait_seconds
from conforme.webhooks.signing import Envelope, headers_of, standard_key

CREATED = datetime(2026, 1, 5, 9, 14, 2, 120_000, tzinfo=UTC)
BODY = '{"event":"progress","data":{"error":"é"}}'.encode()


def envelope(attempt: int = 1) -> Envelope:
    return Envelope("c0000000000000000000000001", "progress", "j1", attempt, CREATED, now())


def test_the_headers_are_those_of_the_contract_and_of_standard_webhooks() -> None:
    sent = envelope(attempt=3)
    headers = headers_of(sent, BODY, [SECRET])
    v1, v2 = contract_signatures(SECRET, "2026-01-05T09:14:02.120Z", BODY)
    standard = headers.pop("webhook-signature")
    assert headers == {
        "Content-Type": "application/json",
        "User-Agent": "AI-Audit-Webhook/1.0",
        "X-Webhook-Event": "progress",
        "X-Webhook-Job-Id": "j1",
        "X-Webhook-Delivery-Id": sent.delivery_id,
        "X-Webhook-Attempt": "3",
        "X-Webhook-Timestamp": "2026-01-05T09:14:02.120Z",
        "X-Webhook-Signature": v1,
        "X-Webhook-Signature-V2": v2,
        "webhook-id": sent.delivery_id,
        "webhook-timestamp": str(int(sent.at.timestamp())),
    }
    assert standard.startswith("v1,")


def test_without_a_secret_nothing_is_signed() -> None:
    assert not [name for name in headers_of(envelope(), BODY, []) if "signature" in name.lower()]


@given(st.binary(min_size=1, max_size=80))
def test_a_standard_secret_is_verified_by_an_independent_verifier(key: bytes) -> None:
    secret = "whsec_" + b64encode(key).decode()
    headers = headers_of(envelope(), BODY, [secret])
    assert Webhook(secret).verify(BODY, headers) == {"event": "progress", "data": {"error": "é"}}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", headers)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=80))
def test_any_other_secret_signs_with_its_own_bytes(secret: str) -> None:
    headers = headers_of(envelope(), BODY, [secret])
    Webhook(standard_key(secret)).verify(BODY, headers)
    if not secret.startswith("whsec_"):
        assert standard_key(secret) == secret.encode()


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "whsec_é"])
def test_what_only_looks_like_a_standard_secret_is_taken_as_it_is(secret: str) -> None:
    assert standard_key(secret) == secret.encode()


def test_while_a_rotation_overlaps_both_secrets_verify_and_the_contracts_headers_use_the_newest() -> None:
    headers = headers_of(envelope(), BODY, ["new secret", SECRET])
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(b"new secret").verify(BODY, headers)
    Webhook(SECRET).verify(BODY, headers)
    assert headers["X-Webhook-Signature"] == contract_signatures("new secret", "", BODY)[0]


WAITS = (2.0, 4.0, 60.0, 300.0, 1800.0, 3600.0, 7200.0, 14400.0)


def test_the_contracts_three_attempts_come_first_then_hours_of_patience() -> None:
    total = attempts_of_a_round(WAITS)
    waits = [wait_seconds(WAITS, total - attempt, None) for attempt in range(1, total)]
    assert waits == list(WAITS)
    assert timedelta(seconds=sum(waits)) > timedelta(hours=7)


@given(
    st.lists(st.floats(0, 86_400), max_size=10),
    st.integers(1, 40),
    st.none() | st.floats(0, 3600),
)
def test_any_wait_is_one_of_the_schedule_or_what_the_receiver_asks(
    waits: list[float], left: int, asked: float | None
) -> None:
    wait = wait_seconds(waits, left, asked)
    assert wait >= (asked or 0)
    assert wait in {*waits, asked, 0.0}


def test_the_verifier_of_the_documentation_accepts_what_is_sent_and_nothing_else() -> None:
    page = Path(__file__).parents[2] / "docs" / "webhooks.md"
    [code] = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)  # noqa: S102 -- our own page
    headers = headers_of(envelope(), BODY, [SECRET])
    assert shown["is_genuine"](SECRET, headers, BODY)
    assert not shown["is_genuine"](SECRET, headers, BODY + b" ")
    assert not shown["is_genuine"]("another", headers, BODY)
