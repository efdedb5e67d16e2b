"""Whether automation can work here, in the shape of the contract (spec/automation §2.1) and with what is true."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text

from conforme.automation import queries
from conforme.automation.schemas import (
    ClockState,
    Diagnostic,
    Endpoints,
    EngineConfiguration,
    EngineState,
)
from conforme.foundation import sealing
from conforme.foundation.database import ReadSession
from conforme.foundation.llm import missing_key
from conforme.foundation.web import iso
from conforme.settings import Settings

CONFIGURED: Final = "✅ CONFIGURED"
NEEDS_ATTENTION: Final = "⚠️ NEEDS ATTENTION"
LATE: Final = timedelta(minutes=3)
NOTHING_TO_SET: Final = (
    "The durable engine is part of this product and works in its database: there is no event key, signing key nor"
    " address to set"
)
_LIVE: Final = text(
    "select count(*) from engine_heartbeats where beat_at > now() - make_interval(secs => :lease)"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and what to do about it."""

    warning: str
    advice: str


async def diagnose(session: ReadSession, settings: Settings, at: datetime) -> Diagnostic:
    """Looks at everything a run stands on; asks no provider."""
    clock = await _clock(session, settings, at)
    sealed = await queries.any_sealed(session)
    findings = [*_of_clock(clock, at), *_of_providers(settings), *_of_keys(settings, sealed=sealed)]
    development = settings.node_env == "development"
    state = EngineState(
        mode="DEVELOPMENT" if development else "SELF-HOSTED",
        status=NEEDS_ATTENTION if findings else CONFIGURED,
        configuration=EngineConfiguration(
            is_dev=development,
            node_env=settings.node_env,
            base_url=None,
            has_event_key=False,
            has_signing_key=False,
        ),
        recommendations=[finding.advice for finding in findings] or [NOTHING_TO_SET],
        warnings=[finding.warning for finding in findings],
    )
    return Diagnostic(inngest=state, endpoints=Endpoints(), clock=clock)


async def _clock(session: ReadSession, settings: Settings, at: datetime) -> ClockState:
    tick = await queries.last_tick(session)
    live = await session.execute(_LIVE, {"lease": settings.replica_lease_seconds})
    return ClockState(
        last_tick_at=None if tick is None else tick.at,
        overdue_schedules=await queries.count_active(session, due_before=at - LATE),
        active_schedules=await queries.count_active(session),
        live_replicas=live.scalar_one(),
    )


def _of_clock(clock: ClockState, at: datetime) -> Iterator[Finding]:
    if not clock.live_replicas:
        yield Finding(
            "No process works: nothing is fired and nothing is carried out",
            "Start a replica that works: `conforme serve`, or with `--role worker`",
        )
    elif clock.last_tick_at is None or at - clock.last_tick_at > LATE:
        since = "yet" if clock.last_tick_at is None else f"since {iso(clock.last_tick_at)}"
        yield Finding(
            f"Nobody has looked at the clock {since}",
            "See the log of the replicas that work: the look is the job `automation/tick`, once a minute",
        )
    if clock.overdue_schedules:
        yield Finding(
            f"{clock.overdue_schedules} active schedules are overdue",
            "See the log for `schedule failed`; it names the schedule",
        )


def _of_providers(settings: Settings) -> Iterator[Finding]:
    if not settings.crm_base_url:
        yield Finding("No CRM gateway: no fiche can be found", "Set FICHE_API_BASE_URL")
    if settings.elevenlabs_api_key is None:
        yield Finding("No key for speech to text: no call can be transcribed", "Set ELEVENLABS_API_KEY")
    if key := missing_key(settings):
        yield Finding("No key for the language model: no audit can be run", f"Set {key}")


def _of_keys(settings: Settings, *, sealed: bool) -> Iterator[Finding]:
    if sealed and not sealing.can_seal(settings):
        yield Finding(
            "Schedules have an externalApiKey, and there is no key to open it with",
            "Set SECRETS_KEY to the key that it was sealed with",
        )
