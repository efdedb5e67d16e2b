"""Creating, changing and deleting schedules, and running one by hand (spec/automation §1, §2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from conforme.accounts.actor import Actor, Scope
from conforme.automation import columns, queries
from conforme.automation.due import next_due
from conforme.automation.errors import NotOwnSchedule, RunUnderWay
from conforme.automation.launch import RESOURCE, launch
from conforme.automation.models import BY_HAND, AutomationRun, AutomationSchedule
from conforme.automation.rules import Selection
from conforme.automation.schemas import CLEARABLE, ScheduleBody
from conforme.automation.views import body_of
from conforme.foundation import sealing
from conforme.foundation.database import WriteSession, now
from conforme.foundation.errors import Invalid, NotFound
from conforme.foundation.outbound import UnsafeUrl
from conforme.foundation.resources import Resources
from conforme.foundation.web import in_words
from conforme.webhooks import outbox

CREATE: Final = "Invalid automation schedule data"
UPDATE: Final = "Invalid automation schedule update data"
_BESIDE_RULES: Final = ("name", "description", "is_active", "notify_on_complete", "notify_on_error")


async def create(
    session: WriteSession, resources: Resources, actor: Actor, body: Mapping[str, Any]
) -> AutomationSchedule:
    """A new schedule, owned by the actor: its runs take what they may see.

    Raises:
        Invalid: with the contract's sentence; the field and what is wrong with it beside.
    """
    asked = read_body(body, CREATE)
    row = AutomationSchedule(**columns.owner_columns(actor), **values_of(asked))
    row.created_by = asked.created_by or actor.name
    row.next_due_at = _next(asked)
    _seal(resources, row, asked, body, CREATE)
    session.add(row)
    await session.flush()
    await session.refresh(row)
    await _tell_by_webhook(session, resources, actor, row, Change(asked, body, CREATE))
    await session.flush()
    await session.refresh(row)
    return row


async def update(
    session: WriteSession, resources: Resources, actor: Actor, schedule_id: int, body: Mapping[str, Any]
) -> AutomationSchedule:
    """Changes what the body names; null clears. The selection and the budget are replaced as a whole.

    Raises:
        NotFound: no such schedule.
        NotOwnSchedule: it is somebody else's, and the actor does not see everything.
        Invalid: as `create`, of what would come of the change.
    """
    row = await changeable(session, actor, schedule_id)
    asked = read_body({**body_of(row), **body}, UPDATE)
    before = (columns.timing_of(row), row.is_active)
    for name, value in values_of(asked).items():
        setattr(row, name, value)
    row.created_by = asked.created_by
    # Other changes leave it alone: a due time that has come and was not dealt with yet is not lost to an edit.
    if before != (columns.timing_of(row), row.is_active):
        row.next_due_at = _next(asked)
    _seal(resources, row, asked, body, UPDATE)
    await _tell_by_webhook(session, resources, actor, row, Change(asked, body, UPDATE))
    await session.flush()
    await session.refresh(row)
    return row


async def remove(session: WriteSession, actor: Actor, schedule_id: int) -> None:
    """Deletes a schedule with its runs, and whom its webhooks told.

    Raises:
        NotFound, NotOwnSchedule: as `update`.
        RunUnderWay: one of its runs has not ended.
    """
    row = await changeable(session, actor, schedule_id)
    if opened := await queries.open_runs(session, row.id):
        raise RunUnderWay(opened[0].id, hint="Cancel the run, or wait for its end")
    await outbox.forget(session, [subject_of(row.id)])
    await session.delete(row)
    await session.flush()


async def run_now(
    session: WriteSession, resources: Resources, actor: Actor, schedule_id: int, overrides: Selection | None
) -> AutomationRun:
    """Runs a schedule because somebody asks for it.

    Raises:
        NotFound, NotOwnSchedule: as `update`.
        ScheduleInactive, RunUnderWay, TooManyWaiting: as `launch`.
    """
    row = await changeable(session, actor, schedule_id)
    return await launch(session, resources, row, due=None, trigger=BY_HAND, actor=actor, overrides=overrides)


async def changeable(session: WriteSession, actor: Actor, schedule_id: int) -> AutomationSchedule:
    """The schedule, held; whoever does not see everything changes only what acts for themselves."""
    row = await queries.held(session, schedule_id)
    if row is None:
        raise NotFound.of(RESOURCE, schedule_id)
    require_own(actor, row)
    return row


def require_own(actor: Actor, row: AutomationSchedule) -> None:
    """Raises `NotOwnSchedule` for whoever does not see everything, where it acts for somebody else."""
    own = row.asked_by == actor.name or (row.user_id is not None and row.user_id == actor.user_id)
    if actor.scope is not Scope.ALL and not own:
        raise NotOwnSchedule


def subject_of(schedule_id: int) -> str:
    """What the endpoint of a schedule is registered for with the webhooks."""
    return f"schedule:{schedule_id}"


@dataclass(frozen=True, slots=True)
class Change:
    """What a body asks for."""

    asked: ScheduleBody
    body: Mapping[str, Any]
    sentence: str

    def refused(self, field: str, why: str) -> Invalid:
        return Invalid(self.sentence, field=field, hint=f"{field}: {why}")


def read_body(body: Mapping[str, Any], sentence: str) -> ScheduleBody:
    """The schedule a body describes. Raises `Invalid` as `create`."""
    named = {key: value for key, value in body.items() if value is not None or key not in CLEARABLE}
    asked = in_words(ScheduleBody, named, sentence)
    if field := asked.timing.missing:
        raise Invalid(asked.timing.requirement, field=field)
    return asked


def values_of(asked: ScheduleBody) -> dict[str, Any]:
    """Columns of what a body describes; its secrets, whom its webhooks tell and its next due time are set beside."""
    plain = {name: getattr(asked, name) for name in _BESIDE_RULES}
    return columns.columns_of(asked.rules) | plain | {"notify_emails": list(asked.notify_emails)}


def _next(asked: ScheduleBody) -> datetime | None:
    """From now on: what a new schedule would have been due at is past."""
    return next_due(asked.timing, now()) if asked.is_active else None


def _seal(
    resources: Resources, row: AutomationSchedule, asked: ScheduleBody, body: Mapping[str, Any], sentence: str
) -> None:
    """Keeps the gateway's key; the mask that a client read and sends back is no new one."""
    if "externalApiKey" not in body:
        return
    settings, given = resources.settings, asked.external_api_key
    if given is None:
        row.external_api_key = None
    elif row.external_api_key is None or given != sealing.masked(row.external_api_key, settings):
        if not sealing.can_seal(settings):
            hint = "externalApiKey: there is no key to keep it with; set SECRETS_KEY"
            raise Invalid(sentence, field="externalApiKey", hint=hint)
        row.external_api_key = sealing.seal(given, settings)


async def _tell_by_webhook(
    session: WriteSession, resources: Resources, actor: Actor, row: AutomationSchedule, change: Change
) -> None:
    """Registers where its webhooks go. Another URL is another endpoint, and is not told the secret of the one before."""
    url, secret = change.asked.webhook_url, change.asked.webhook_secret
    secret_named = "webhookSecret" in change.body
    if url is None:
        row.webhook_url = row.webhook_endpoint_id = None
        row.webhook_signed = False
    elif url == row.webhook_url and row.webhook_endpoint_id and row.webhook_signed and secret:
        seconds = resources.settings.webhook_secret_overlap_seconds
        await outbox.rotate(
            session, actor, row.webhook_endpoint_id, _checked(change), overlap_seconds=seconds
        )
    elif url != row.webhook_url or secret_named:
        row.webhook_endpoint_id = await _register(session, resources, row, change)
        row.webhook_url, row.webhook_signed = url, secret is not None


async def _register(
    session: WriteSession, resources: Resources, row: AutomationSchedule, change: Change
) -> str:
    """Registers the URL for what the schedule's owner may see, whoever enters it."""
    secret = _checked(change) if change.asked.webhook_secret else None
    url = change.asked.webhook_url or ""
    try:
        return await outbox.register(
            session,
            resources.outbound,
            subject=subject_of(row.id),
            url=url,
            secret=secret,
            actor=columns.owner_of(row),
        )
    except UnsafeUrl as error:
        raise change.refused("webhookUrl", error.message) from None


def _checked(change: Change) -> str:
    try:
        return outbox.checked_secret(change.asked.webhook_secret or "")
    except Invalid as error:
        raise change.refused("webhookSecret", error.message) from None
