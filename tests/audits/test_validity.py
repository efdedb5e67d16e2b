"""A call is judged by the rules of its day, and a configuration that is not of that day is refused before any cost."""

from datetime import UTC, date, datetime, timedelta

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_rows import fiche
from conforme.audit_configs.service import import_rules
from conforme.audits.errors import AuditFailed
from conforme.audits.validity import day_of, outside, require_in_force
from conforme.foundation.database import Database
from conforme.recordings.models import Recording
from rubrics import rules

DAY = datetime(2026, 11, 17, 9, 0, tzinfo=UTC)


@given(st.lists(st.none() | st.datetimes(timezones=st.just(UTC)), max_size=5))
def test_the_day_of_a_sale_is_that_of_its_last_call(starts: list[datetime | None]) -> None:
    known = [start for start in starts if start]
    assert day_of(starts) == (max(known).date() if known else None)


@given(st.none() | st.dates(), st.none() | st.dates(), st.dates())
def test_only_a_known_day_outside_the_dates_is_refused(
    first: date | None, last: date | None, day: date
) -> None:
    judged = rules(valid_from=first, valid_to=last)
    inside = (first is None or first <= day) and (last is None or day <= last)
    assert (outside(judged, day) is None) == inside
    assert outside(judged, None) is None


def test_a_queued_audit_ends_before_anything_is_paid() -> None:
    with pytest.raises(AuditFailed, match="2026-11-17") as caught:
        require_in_force(rules(valid_to=date(2026, 8, 10)), [DAY - timedelta(days=200), DAY, None])
    assert (caught.value.reason_code, caught.value.phase) == ("CONFIG_NOT_IN_FORCE", "configuration")


async def test_a_request_for_known_calls_of_another_day_is_refused_and_queues_nothing(
    api: httpx2.AsyncClient, database: Database
) -> None:
    async with database.write() as session:
        cache_id = await fiche(session, "900001")
        session.add(Recording(fiche_cache_id=cache_id, call_id="c-1", start_time=DAY))
        old = await import_rules(session, rules("Ancienne", valid_to=date(2026, 8, 10)))
        new = await import_rules(session, rules("Nouvelle", valid_from=date(2026, 8, 11)))
    refused = await api.post("/api/audits/run", json={"fiche_id": "900001", "audit_config_id": old.id})
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFIG_NOT_IN_FORCE")
    assert "2026-08-10" in refused.json()["error"]
    assert (await api.get("/api/audits")).json()["pagination"]["total"] == 0
    taken = await api.post("/api/audits/run", json={"fiche_id": "900001", "audit_config_id": new.id})
    assert taken.status_code == 200, taken.text
