"""What fiches ask of rooms that stand above them; the application connects it at its start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import SecretStr

from conforme.accounts.actor import Actor
from conforme.crm.schemas import GatewayRecording
from conforme.fiches.list_schemas import AuditsOfFiche, ListedCall
from conforme.fiches.schemas import AuditStatus, TranscriptionStatus
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import Misconfigured
from conforme.settings import Settings

Session = ReadSession | WriteSession


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """How many calls of a fiche are stored, and how many of them have no recording's address."""

    stored: int
    blank_urls: int


class RecordingsStore(Protocol):
    """The calls of a fiche, kept by another room."""

    async def upsert(
        self,
        session: WriteSession,
        fiche_cache_id: int,
        fiche_id: str,
        recordings: Sequence[GatewayRecording],
    ) -> None:
        """Stores what the gateway told of a fiche's calls, in the caller's transaction."""
        ...

    async def listed(self, session: Session, actor: Actor, fiche_cache_id: int) -> list[dict[str, Any]]:
        """The calls as a fiche shows them (spec/fiches §2.3), newest first."""
        ...

    def shown(self, recordings: Sequence[GatewayRecording]) -> list[dict[str, Any]]:
        """The same shape for calls that could not be stored."""
        ...

    async def facts(self, session: Session, actor: Actor, fiche_cache_id: int) -> RecordingFacts: ...


class TranscriptionStatusReader(Protocol):
    async def __call__(self, session: Session, actor: Actor, fiche_cache_id: int) -> TranscriptionStatus:
        """How far the transcription of a fiche is."""
        ...


class AuditStatusReader(Protocol):
    async def __call__(self, session: Session, actor: Actor, fiche_id: str) -> AuditStatus:
        """How the latest audits of a fiche stand."""
        ...


class ListedCallsReader(Protocol):
    async def __call__(
        self, session: Session, actor: Actor, fiche_cache_ids: Sequence[int]
    ) -> Mapping[int, Sequence[ListedCall]]:
        """The calls of many fiches as a list shows them, oldest first; in one statement, as the next two."""
        ...


class TranscriptionStatusesReader(Protocol):
    async def __call__(
        self, session: Session, actor: Actor, fiche_cache_ids: Sequence[int]
    ) -> Mapping[int, TranscriptionStatus]:
        """How far the transcription of many fiches is; nothing of one without calls."""
        ...


class AuditsReader(Protocol):
    async def __call__(
        self, session: Session, actor: Actor, fiche_ids: Sequence[str]
    ) -> Mapping[str, AuditsOfFiche]:
        """How the latest audits of many fiches stand; nothing of one without audits."""
        ...


class ScheduleTokenReader(Protocol):
    async def __call__(self, session: Session, settings: Settings, schedule_id: int) -> SecretStr | None:
        """The CRM's token that a schedule of automation brings along; None: it has none.

        Raises:
            Misconfigured: it was sealed with a key that is no longer known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    recordings: RecordingsStore
    transcription_status: TranscriptionStatusReader
    audit_status: AuditStatusReader
    listed_calls: ListedCallsReader
    transcription_statuses: TranscriptionStatusesReader
    audits_of_fiches: AuditsReader
    schedule_token: ScheduleTokenReader


class _Switchboard:
    """Jobs are declared at import, before there is an application to hand them anything."""

    ports: Ports | None = None


def connect(ports: Ports) -> None:
    """Gives this room its neighbours; once per process, before its first request or job."""
    _Switchboard.ports = ports


def connected() -> Ports:
    """The neighbours.

    Raises:
        Misconfigured: the process was started without them.
    """
    if _Switchboard.ports is None:
        raise Misconfigured("Fiches are not connected to recordings, transcriptions and audits")
    return _Switchboard.ports
