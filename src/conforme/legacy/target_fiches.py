"""Fiches and their recordings into our tables; what was fetched or transcribed here already stays."""

from collections.abc import Sequence

from sqlalchemy import select

from conforme.fiches.bulk import replace_sections
from conforme.fiches.models import FicheCache
from conforme.foundation.database import WriteSession
from conforme.foundation.rows import Rows, write_rows
from conforme.legacy import layout, mapping_fiches, mapping_recordings, target
from conforme.legacy.layout import Kind
from conforme.legacy.mapping_fiches import OldFiche
from conforme.legacy.mapping_recordings import TRANSCRIPT, OldRecording
from conforme.legacy.source import Bundle
from conforme.legacy.target import Brought, Mapped, Written
from conforme.recordings.fiche_calls import FicheCalls
from conforme.recordings.models import Recording
from conforme.transcriptions.models import TranscriptionChunk

Place = tuple[int, str]
"""Cache id and call id: what tells recordings apart."""


class Fiches:
    kind: Kind = layout.FICHES

    def __init__(self) -> None:
        self._calls = FicheCalls()

    def read(self, bundle: Bundle) -> OldFiche:
        return mapping_fiches.fiche(bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        outcome = Written()
        here = await self._here(session, [row.value.columns["fiche_id"] for row in rows])
        better = [row for row in rows if not _kept(row.value, here)]
        fresh = [row for row in better if row.value.columns["fiche_id"] not in here]
        numbers = await target.numbered(session, FicheCache, [row.id for row in fresh])
        ids = {row.id: numbers.get(row.id) or here[row.value.columns["fiche_id"]][0] for row in rows}
        await write_rows(session, _roots(better, ids))
        for row in better:
            await self._sections(session, ids[row.id], row.value)
        written = {row.id for row in better}
        outcome.brought += [Brought(row.id, ids[row.id], row.id in written) for row in rows]
        unread = sum(row.value.unread for row in better)
        if unread:
            outcome.notes[
                "Fiches whose JSON cannot be read came without details; they are fetched when needed"
            ] += unread
        return outcome

    async def _here(self, session: WriteSession, fiche_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
        """Id and whether details are known, by fiche."""
        query = select(FicheCache.fiche_id, FicheCache.id, FicheCache.details_fetched_at.is_not(None))
        found = await session.execute(query.where(FicheCache.fiche_id.in_(fiche_ids)))
        return {fiche_id: (number, detailed) for fiche_id, number, detailed in found}

    async def _sections(self, session: WriteSession, cache_id: int, old: OldFiche) -> None:
        if old.sections is not None:
            await replace_sections(session, cache_id, old.sections, mail_devis=True)
        if old.details is not None:
            fiche_id = old.columns["fiche_id"]
            await self._calls.upsert(session, cache_id, fiche_id, old.details.recordings)


def _kept(old: OldFiche, here: dict[str, tuple[int, bool]]) -> bool:
    """Whether what is known here is as good."""
    known = here.get(old.columns["fiche_id"])
    return known is not None and (known[1] or old.sections is None)


def _roots(rows: Sequence[Mapped], ids: dict[int, int]) -> Rows:
    values = [{"id": ids[row.id], **row.value.columns} for row in rows]
    names = [name for name in values[0] if name not in {"id", "created_at"}] if values else []
    again = ", ".join(f"{name} = excluded.{name}" for name in names)
    return target.rows(FicheCache, values, f"on conflict (fiche_id) do update set {again}")


class Recordings:
    kind: Kind = layout.RECORDINGS

    def read(self, bundle: Bundle) -> OldRecording:
        return mapping_recordings.recording(bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        outcome = Written()
        fiches = await target.ids_here(session, layout.FICHES, [row.value.fiche_cache_id for row in rows])
        placed = {
            row.id: (fiches[row.value.fiche_cache_id], row.value.call_id)
            for row in rows
            if row.value.fiche_cache_id in fiches
        }
        for row in rows:
            if row.id not in placed:
                outcome.refused[row.id] = f"fiche_cache_id: fiche {row.value.fiche_cache_id} did not come"
        here = await self._here(session, list(placed.values()))
        fresh = [row for row in rows if row.id in placed and placed[row.id] not in here]
        numbers = await target.numbered(session, Recording, [row.id for row in fresh])
        heard = [
            row
            for row in rows
            if row.id in placed and row.value.transcribed and not here.get(placed[row.id], (0, True))[1]
        ]
        ids = {**numbers, **{row.id: here[placed[row.id]][0] for row in rows if placed.get(row.id) in here}}
        await write_rows(session, _recordings(fresh, placed, ids))
        await write_rows(session, _transcripts(heard, placed))
        await write_rows(session, _chunks([*fresh, *heard], ids))
        written = {row.id for row in (*fresh, *heard)}
        outcome.brought += [Brought(row.id, ids[row.id], row.id in written) for row in rows if row.id in ids]
        return outcome

    async def _here(self, session: WriteSession, places: Sequence[Place]) -> dict[Place, tuple[int, bool]]:
        """Id and whether it is transcribed, of recordings known here."""
        query = select(
            Recording.fiche_cache_id, Recording.call_id, Recording.id, Recording.has_transcription
        ).where(Recording.fiche_cache_id.in_({fiche for fiche, _ in places}))
        return {(fiche, call): (number, heard) for fiche, call, number, heard in await session.execute(query)}


def _recordings(rows: Sequence[Mapped], placed: dict[int, Place], ids: dict[int, int]) -> Rows:
    values = [{"id": ids[row.id], "fiche_cache_id": placed[row.id][0], **row.value.columns} for row in rows]
    return target.rows(Recording, values)


def _transcripts(rows: Sequence[Mapped], placed: dict[int, Place]) -> Rows:
    """What was transcribed there, for recordings that are known here and not transcribed."""
    values = [
        {
            "fiche_cache_id": placed[row.id][0],
            "call_id": row.value.call_id,
            **{name: row.value.columns[name] for name in TRANSCRIPT},
        }
        for row in rows
    ]
    told = ", ".join(f"{name} = excluded.{name}" for name in TRANSCRIPT)
    clause = f"on conflict (fiche_cache_id, call_id) do update set {told}, updated_at = now()"
    return target.rows(Recording, values, clause)


def _chunks(rows: Sequence[Mapped], ids: dict[int, int]) -> Rows:
    values = [{"recording_id": ids[row.id], **chunk} for row in rows for chunk in row.value.chunks]
    return target.rows(TranscriptionChunk, values, "on conflict (recording_id, chunk_index) do nothing")
