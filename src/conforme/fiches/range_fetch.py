"""Asking for the sales of a range of days: what is not known is fetched in the background (spec/automation §6)."""

from dataclasses import dataclass
from datetime import date

from pydantic import SecretStr

from conforme.accounts.actor import Actor
from conforme.foundation.database import WriteSession
from conforme.foundation.resources import Resources


@dataclass(frozen=True, slots=True)
class RangeAsked:
    """Days somebody wants the sales of, both ends included, and whom to tell."""

    start: date
    end: date
    refresh: bool = False
    """All days are searched again, known or not."""
    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class FetchJob:
    """A fetch of a range as it stands."""

    id: str
    status: str
    """`processing`, `complete` or `failed`."""
    progress: int
    """Per cent of its days that were dealt with, those known before included."""
    total_days: int
    completed_days: int
    failed_days: int
    start: date
    end: date


async def fetch_range(
    session: WriteSession, resources: Resources, actor: Actor, asked: RangeAsked
) -> FetchJob | None:
    """Sees to it that the days asked for become known; the caller commits.

    Gives the running fetch of the same range when there is one (whoever asks then belongs to it, with their webhook),
    else starts one. None when nothing is to be fetched: all days are known, or to come. Days to come are left out. When
    what is missing has failed a moment ago, the fetch that failed is given, and the CRM is left in peace.

    Raises:
        Invalid: the range is in the wrong order or longer than `FICHE_RANGE_MAX_DAYS`; the secret cannot be one.
        UnsafeUrl: with the messages of spec/automation §8.
    """
    raise NotImplementedError
