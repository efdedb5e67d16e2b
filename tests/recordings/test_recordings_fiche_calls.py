"""The calls of a fiche as its document shows them."""

from datetime import UTC, datetime

from conforme.accounts.actor import Actor
from conforme.crm.schemas import GatewayRecording
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database
from conforme.recordings.fiche_calls import FicheCalls

ACTOR = Actor.system("test")
CALLS = FicheCalls()
NAMED = "https://cdn.example.test/r/0a1b2c3d-1111-4222-8333-444455556666-05-01-26-08h14-33199001234-33639981122.mp3"


def _call(call_id: str, start_time: str, url: str | None = None) -> GatewayRecording:
    return GatewayRecording(
        call_id=call_id,
        start_time=start_time,
        duration_seconds=312,
        direction="out",
        from_number="33199001234",
        to_number="33639981122",
        answered=True,
        recording_url=url,
    )


async def test_calls_are_shown_alike_whether_stored_or_fresh(database: Database) -> None:
    told = [
        _call("a", "2026-01-05T08:14:03.120+00:00", NAMED),
        _call("b", "jamais"),
        _call("c", "2026-01-06T08:14:03"),
    ]
    async with database.write() as session:
        fiche = FicheCache(fiche_id="900101", expires_at=datetime(2099, 1, 1, tzinfo=UTC))
        session.add(fiche)
        await session.flush()
        await CALLS.upsert(session, fiche.id, "900101", told)
    async with database.read() as session:
        listed = await CALLS.listed(session, ACTOR, fiche.id)
        facts = await CALLS.facts(session, ACTOR, fiche.id)
    assert listed == CALLS.shown(told)
    assert [call["call_id"] for call in listed] == ["c", "a", "b"]
    assert (facts.stored, facts.blank_urls) == (3, 2)
    assert listed[1]["start_time"] == "2026-01-05T08:14:03.120Z"
    assert listed[1]["parsed"]["from_number"] == "+33 1 99 00 12 34"
