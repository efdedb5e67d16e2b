"""Who may listen to which channel: one table of the kinds of channels, and one question asked of it.

A channel of a fiche or an audit is for who may read that fiche, found by the rooms that know them (`Finders`); the
application connects them at its start. What is not in the table is no channel.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from conforme.accounts.actor import Actor, Caller, Scope
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import Forbidden, Invalid, Misconfigured
from conforme.foundation.events import GLOBAL_CHANNEL

Session = ReadSession | WriteSession
Finder = Callable[[Session, Actor, Sequence[str]], Awaitable[set[str]]]
"""Those of these ids whose fiche the actor may see, in one statement."""

MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Finders:
    """How the fiche of a channel is found."""

    fiches: Finder
    """By the fiche's id."""
    audits: Finder
    """By the audit's tracking id or its database id."""
    jobs: Finder
    """By the job's id: those that the actor asked for."""
    batches: Finder
    """By the batch's id: those that the actor asked for."""
    runs: Finder
    """By `automation-run-<id>`: those of the actor's schedules."""


class _Switchboard:
    """Rooms that know fiches and audits stand above this one."""

    finders: Finders | None = None


def connect(finders: Finders) -> None:
    """Gives this room its neighbours; once per process, before its first request."""
    _Switchboard.finders = finders


def _connected() -> Finders:
    if _Switchboard.finders is None:
        raise Misconfigured("Channels are not connected to fiches and audits")
    return _Switchboard.finders


class Rule(Protocol):
    """Whether a caller may listen to all channels of one kind that have these ids."""

    async def admits(self, session: Session, caller: Caller, ids: Sequence[str]) -> bool: ...


@dataclass(frozen=True, slots=True)
class OfVisibleFiche:
    """A permission, and the channel's fiche within its scope; ALL may name what does not exist yet."""

    permission: str
    found: Callable[[], Finder]
    ids: re.Pattern[str]

    async def admits(self, session: Session, caller: Caller, ids: Sequence[str]) -> bool:
        if caller.grants.reach(self.permission) is None or not all(map(self.ids.fullmatch, ids)):
            return False
        actor = caller.acting([self.permission])
        return actor.scope is Scope.ALL or await self.found()(session, actor, ids) >= set(ids)


@dataclass(frozen=True, slots=True)
class OfAsker:
    """Scope ALL on one of these permissions; else whoever asked for the job, while they may read what it works on."""

    permissions: tuple[str, ...]
    needed: str
    found: Callable[[], Finder]
    begins: str = ""
    """What of the kind's name belongs to the id."""

    async def admits(self, session: Session, caller: Caller, ids: Sequence[str]) -> bool:
        if any(caller.grants.reach(permission) is Scope.ALL for permission in self.permissions):
            return True
        if caller.grants.reach(self.needed) is None:
            return False
        whole = [self.begins + identifier for identifier in ids]
        return await self.found()(session, caller.acting([self.needed]), whole) >= set(whole)


@dataclass(frozen=True, slots=True)
class OfPerson:
    """That person, with a session of their own."""

    async def admits(self, session: Session, caller: Caller, ids: Sequence[str]) -> bool:  # noqa: ARG002
        return caller.person is not None and set(ids) == {str(caller.person.id)}


KINDS: Final[Mapping[str, Rule]] = {
    "private-audit-": OfVisibleFiche(
        "audits.read", lambda: _connected().audits, re.compile(r"[\w=@,.;-]+", re.ASCII)
    ),
    "private-fiche-": OfVisibleFiche("fiches.read", lambda: _connected().fiches, re.compile(r"[0-9]{1,40}")),
    "private-job-batch-": OfAsker(("audits.read",), "audits.read", lambda: _connected().batches, "batch-"),
    "private-job-automation-run-": OfAsker(
        ("automation.read",), "automation.read", lambda: _connected().runs, "automation-run-"
    ),
    "private-job-": OfAsker(
        ("automation.read", "audits.read", "fiches.read"), "fiches.read", lambda: _connected().jobs
    ),
    "private-user-": OfPerson(),
}
"""By what their names begin with, the longer before the shorter. Beside them there is `private-global`, for whoever may listen at all."""


def read_name(name: str) -> tuple[str, str]:
    """What a channel's name begins with, and its id; `private-global` has none.

    Raises:
        Invalid: too long.
        Forbidden: a name outside the catalogue.
    """
    if len(name) > MAX_NAME:
        raise Invalid(f"channel_name too long (max {MAX_NAME} chars)", field="channels")
    if name == GLOBAL_CHANNEL:
        return name, ""
    kind = next((kind for kind in KINDS if name.startswith(kind) and len(name) > len(kind)), None)
    if kind is None:
        raise Forbidden("Channel not allowed")
    return kind, name.removeprefix(kind)


async def authorise(session: Session, caller: Caller, channels: Iterable[str]) -> None:
    """Lets a caller pass who may listen to every one of these channels; at most one statement for each kind.

    That the caller may listen at all (`realtime.read`) is the route's to ask.

    Raises:
        Invalid, Forbidden: as `read_name`.
        Forbidden: to one of them the caller may not listen; the same whether it is another's or nobody's.
    """
    ids_by_kind: dict[str, list[str]] = {}
    for kind, identifier in sorted(set(map(read_name, channels))):
        ids_by_kind.setdefault(kind, []).append(identifier)
    ids_by_kind.pop(GLOBAL_CHANNEL, None)
    for kind, ids in ids_by_kind.items():
        if not await KINDS[kind].admits(session, caller, ids):
            raise Forbidden
