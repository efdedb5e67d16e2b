"""When a cached fiche is fetched again (spec/fiches §2.4): pure functions of what is known and the time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from conforme.settings import Settings


class Reason(StrEnum):
    """Why a fiche is fetched, or why it is not."""

    NOT_CACHED = "not_cached"
    EXPIRED = "cache_expired"
    FORCED = "force_refresh"
    LISTED_ONLY = "sales_list_only"
    RECORDINGS_MISSING = "recordings_missing_rows"
    RECORDING_URL_MISSING = "recordings_missing_url"
    INCOMPLETE = "cache_incomplete"
    MAIL_DEVIS_UNKNOWN = "mail_devis_missing"
    NOT_FOUND = "not_found"
    VALID = "cache_valid_full_details"

    @property
    def fetches(self) -> bool:
        return self not in {Reason.NOT_FOUND, Reason.VALID}


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """What is known of a cached fiche."""

    fetched_at: datetime
    expires_at: datetime
    detailed: bool
    """Its sections were fetched by id, not only a line of a listing."""
    not_found: bool = False
    """The CRM's last word was that it has no such fiche."""
    success: bool = True
    """The gateway called its details complete."""
    recordings_told: int = 0
    """Calls the gateway counted."""
    recordings_stored: int = 0
    blank_urls: int = 0
    """Stored calls whose recording cannot be downloaded yet."""
    mail_devis_known: bool = False
    """The quote mail was asked for once, were the answer that there is none."""

    @property
    def recordings_known(self) -> int:
        return max(self.recordings_told, self.recordings_stored)

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at <= now

    def is_denied(self, now: datetime) -> bool:
        """The CRM said recently enough that it has no such fiche."""
        return self.not_found and not self.is_expired(now)


def cooldown_of(settings: Settings) -> timedelta:
    """For how long after a fetch another one is not forced."""
    return timedelta(milliseconds=settings.fiche_force_refresh_cooldown_ms)


def for_job(facts: CacheFacts | None, now: datetime, *, force: bool, cooldown: timedelta) -> Reason:
    """What the background fetch does."""
    if facts is None:
        return Reason.NOT_CACHED
    forced = force and (facts.is_expired(now) or now - facts.fetched_at >= cooldown)
    return _first(
        {
            Reason.NOT_FOUND: facts.is_denied(now) and not forced,
            Reason.EXPIRED: facts.is_expired(now),
            Reason.FORCED: forced,
            Reason.LISTED_ONLY: not facts.detailed,
            Reason.RECORDINGS_MISSING: facts.recordings_told > 0 and facts.recordings_stored == 0,
            Reason.RECORDING_URL_MISSING: facts.blank_urls > 0,
            Reason.INCOMPLETE: not facts.success,
        }
    )


def for_read(
    facts: CacheFacts | None, now: datetime, *, refresh: bool = False, mail_devis: bool = False
) -> Reason:
    """What reading a fiche over HTTP does; `refresh` fetches always."""
    if facts is None:
        return Reason.NOT_CACHED
    return _first(
        {
            Reason.FORCED: refresh,
            Reason.NOT_FOUND: facts.is_denied(now),
            Reason.EXPIRED: facts.is_expired(now),
            Reason.LISTED_ONLY: not facts.detailed,
            Reason.MAIL_DEVIS_UNKNOWN: mail_devis and not facts.mail_devis_known,
        }
    )


def _first(rules: Mapping[Reason, bool]) -> Reason:
    """The first reason that holds, in the order of the rules."""
    return next((reason for reason, holds in rules.items() if holds), Reason.VALID)


def survives_denial(facts: CacheFacts | None, reason: Reason, *, force: bool) -> bool:
    """Whether a cache is kept although the CRM now says that it has no such fiche.

    Under load the gateway denies fiches that it has: a refresh that somebody forced does not throw known calls away.
    """
    doubtful = reason in {Reason.FORCED, Reason.EXPIRED}
    return force and doubtful and facts is not None and facts.recordings_known > 0


def reading_survives_denial(facts: CacheFacts | None, *, refresh: bool) -> bool:
    """The same for a fetch that a reader waits for: what can be shown instead, and known calls, outweigh the denial."""
    return facts is not None and (facts.recordings_known > 0 or (not refresh and can_serve_stale(facts)))


def can_serve_stale(facts: CacheFacts | None) -> bool:
    """Whether an old copy may stand in when a read cannot be refreshed."""
    return facts is not None and facts.detailed and not facts.not_found
