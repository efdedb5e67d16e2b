"""When a fiche is fetched again: the table of spec/fiches §2.4, and what holds for any state of the cache."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fiche_room import NOW
from hypothesis import given
from hypothesis import strategies as st

from conforme.fiches.policy import (
    CacheFacts,
    Reason,
    can_serve_stale,
    for_job,
    for_read,
    reading_survives_denial,
    survives_denial,
)

COOLDOWN = timedelta(minutes=30)
YOUNG = NOW - timedelta(minutes=29)
OLD = NOW - timedelta(minutes=30)
WHOLE = CacheFacts(
    fetched_at=OLD,
    expires_at=NOW + timedelta(hours=1),
    detailed=True,
    recordings_told=2,
    recordings_stored=2,
    mail_devis_known=True,
)
DENIED = replace(WHOLE, not_found=True, success=False)
EXPIRED = {"expires_at": NOW}

moments = st.timedeltas(timedelta(days=-20), timedelta(days=20)).map(lambda delta: NOW + delta)
facts = st.builds(
    CacheFacts,
    fetched_at=moments,
    expires_at=moments,
    detailed=st.booleans(),
    not_found=st.booleans(),
    success=st.booleans(),
    recordings_told=st.integers(0, 3),
    recordings_stored=st.integers(0, 3),
    blank_urls=st.integers(0, 3),
    mail_devis_known=st.booleans(),
)


@pytest.mark.parametrize(
    ("known", "force", "reason"),
    [
        (None, False, Reason.NOT_CACHED),
        (None, True, Reason.NOT_CACHED),
        (WHOLE, False, Reason.VALID),
        (WHOLE, True, Reason.FORCED),
        (replace(WHOLE, fetched_at=YOUNG), True, Reason.VALID),
        (replace(WHOLE, **EXPIRED), False, Reason.EXPIRED),
        (replace(WHOLE, **EXPIRED, fetched_at=YOUNG), True, Reason.EXPIRED),
        (replace(WHOLE, detailed=False), False, Reason.LISTED_ONLY),
        (replace(WHOLE, detailed=False, fetched_at=YOUNG), True, Reason.LISTED_ONLY),
        (replace(WHOLE, recordings_stored=0), False, Reason.RECORDINGS_MISSING),
        (replace(WHOLE, recordings_stored=0, recordings_told=0), False, Reason.VALID),
        (replace(WHOLE, blank_urls=1), False, Reason.RECORDING_URL_MISSING),
        (replace(WHOLE, success=False), False, Reason.INCOMPLETE),
        (replace(WHOLE, mail_devis_known=False), False, Reason.VALID),
        (DENIED, False, Reason.NOT_FOUND),
        (replace(DENIED, fetched_at=YOUNG), True, Reason.NOT_FOUND),
        (DENIED, True, Reason.FORCED),
        (replace(DENIED, **EXPIRED), False, Reason.EXPIRED),
    ],
)
def test_the_background_fetch_follows_its_rules_in_order(
    known: CacheFacts | None, force: bool, reason: Reason
) -> None:
    assert for_job(known, NOW, force=force, cooldown=COOLDOWN) is reason


@pytest.mark.parametrize(
    ("known", "refresh", "mail_devis", "reason"),
    [
        (None, False, False, Reason.NOT_CACHED),
        (WHOLE, False, False, Reason.VALID),
        (WHOLE, False, True, Reason.VALID),
        (replace(WHOLE, fetched_at=YOUNG), True, False, Reason.FORCED),
        (DENIED, True, False, Reason.FORCED),
        (DENIED, False, False, Reason.NOT_FOUND),
        (replace(DENIED, **EXPIRED), False, False, Reason.EXPIRED),
        (replace(WHOLE, **EXPIRED), False, False, Reason.EXPIRED),
        (replace(WHOLE, detailed=False), False, False, Reason.LISTED_ONLY),
        (replace(WHOLE, mail_devis_known=False), False, True, Reason.MAIL_DEVIS_UNKNOWN),
        (replace(WHOLE, mail_devis_known=False), False, False, Reason.VALID),
        (replace(WHOLE, blank_urls=2, recordings_stored=0), False, False, Reason.VALID),
    ],
)
def test_a_read_asks_the_crm_only_for_what_the_cache_cannot_say(
    known: CacheFacts | None, refresh: bool, mail_devis: bool, reason: Reason
) -> None:
    assert for_read(known, NOW, refresh=refresh, mail_devis=mail_devis) is reason


@given(facts, st.booleans())
def test_nothing_expired_or_incomplete_is_called_valid(known: CacheFacts, force: bool) -> None:
    reason = for_job(known, NOW, force=force, cooldown=COOLDOWN)
    if reason is Reason.VALID:
        assert known.expires_at > NOW
        assert known.detailed
        assert known.success
        assert not known.not_found
        assert not known.blank_urls
    if reason is Reason.NOT_FOUND:
        assert known.not_found


@given(facts)
def test_forcing_never_fetches_less(known: CacheFacts) -> None:
    plain = for_job(known, NOW, force=False, cooldown=COOLDOWN)
    forced = for_job(known, NOW, force=True, cooldown=COOLDOWN)
    assert forced.fetches or not plain.fetches


@given(facts)
def test_a_fresh_cache_that_is_young_is_not_forced(known: CacheFacts) -> None:
    young = replace(known, fetched_at=YOUNG, expires_at=NOW + timedelta(seconds=1))
    assert for_job(young, NOW, force=True, cooldown=COOLDOWN) is for_job(
        young, NOW, force=False, cooldown=COOLDOWN
    )


@given(facts, st.booleans(), st.sampled_from(Reason))
def test_only_a_forced_and_doubtful_refresh_outlives_a_denial(
    known: CacheFacts, force: bool, reason: Reason
) -> None:
    kept = survives_denial(known, reason, force=force)
    assert kept is (force and reason in {Reason.FORCED, Reason.EXPIRED} and known.recordings_known > 0)
    assert not survives_denial(None, reason, force=force)


@given(facts)
def test_only_details_that_nobody_denied_are_served_stale(known: CacheFacts) -> None:
    assert can_serve_stale(known) is (known.detailed and not known.not_found)
    assert not can_serve_stale(None)


@given(facts, st.booleans())
def test_a_denial_that_a_reader_hears_of_harms_neither_known_calls_nor_what_is_shown_instead(
    known: CacheFacts, refresh: bool
) -> None:
    kept = reading_survives_denial(known, refresh=refresh)
    assert kept is (known.recordings_known > 0 or (not refresh and can_serve_stale(known)))
    assert not reading_survives_denial(None, refresh=refresh)
