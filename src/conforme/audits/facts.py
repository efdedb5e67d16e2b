"""Appended verdicts: written once, read in order, and made into the rows that say what holds now.

Whoever appends holds the audit (`queries.locked`, `queries.hold`): verdicts of one audit follow one another.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, select, update

from conforme.audit_configs.rules import StepRule
from conforme.audits import doubts, history, store
from conforme.audits.analysis import StepAnalysis
from conforme.audits.history import Fact, Held, Json
from conforme.audits.models import (
    CitationRow,
    ControlPointRow,
    DroppedCitationRow,
    StepResultRow,
    VerdictRow,
)
from conforme.audits.verdicts import LOCATED, PointFinding
from conforme.foundation.database import ReadSession, Writer
from conforme.foundation.rows import Rows, write_rows

MODEL = "system:audit"
"""Author of what the model said in a run."""
POINT_COLUMNS = (
    "point",
    "statut",
    "model_statut",
    "commentaire",
    "minutages",
    "erreur_transcription_notee",
    "variation_phonetique_utilisee",
    "doubts",
)
DROPPED_COLUMNS = ("texte", "reason", "enregistrement", "tour")
STEP_COLUMNS = (
    "commentaire_global",
    "mots_cles_trouves",
    "erreurs_transcription_tolerees",
    "total_tokens",
    "raw_result",
)


@dataclass(frozen=True, slots=True)
class Basis:
    """By which rules and words something was said."""

    config_revision_id: int
    transcript_snapshot_id: int | None


# What is said, as it is stored


def point_content(step: StepRule, point: PointFinding) -> dict[str, Any]:
    columns = store.point_columns(step, point)
    content = {name: columns[name] for name in POINT_COLUMNS}
    quotes = [_only(each, store.CITATION_COLUMNS) for each in store.citations(point)]
    refused = [_only(each, DROPPED_COLUMNS) for each in store.dropped(point)]
    return {"numero": point.numero, **content, "citations": quotes, "dropped": refused}


def step_content(analysis: StepAnalysis) -> dict[str, Any]:
    columns = store.analysed_columns(analysis)
    points = [point_content(analysis.step, point) for point in analysis.points]
    return {**{name: columns[name] for name in STEP_COLUMNS}, "points": points}


def _only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names}


def run_rows(audit_id: int, analysis: StepAnalysis, basis: Basis) -> Rows:
    """The model's answer for a step, to be written with the rows that hold it."""
    said = {"kind": "run", "author": MODEL, "content": step_content(analysis)}
    return _rows(audit_id, analysis.step.position, said | said_by_model(analysis, basis))


def said_by_model(analysis: StepAnalysis, basis: Basis, version: str | None = None) -> dict[str, Any]:
    """The columns that tell by which model, prompt, rules and words something was said."""
    return {
        "model": analysis.spent.model.replace("\0", "")[:200],
        "prompt_version": version or analysis.prompt_version,
        "config_revision_id": basis.config_revision_id,
        "transcript_snapshot_id": basis.transcript_snapshot_id,
    }


def _rows(audit_id: int, position: int, columns: Mapping[str, Any]) -> Rows:
    place = {"audit_id": audit_id, "step_position": position}
    return Rows(VerdictRow, [{**place, **columns}], "on conflict (reference) do nothing")


async def append(session: Writer, audit_id: int, position: int, **columns: Any) -> None:
    """Appends one verdict; nothing when its `reference` has been appended before."""
    await write_rows(session, _rows(audit_id, position, columns))


async def known(session: Writer | ReadSession, reference: str) -> bool:
    return bool(await session.scalar(select(exists().where(VerdictRow.reference == reference))))


# What was said, in order


async def of_step(session: Writer | ReadSession, audit_id: int, position: int) -> list[Fact]:
    """All that was ever said of a step, oldest first."""
    query = (
        select(
            VerdictRow.kind, VerdictRow.content, VerdictRow.control_point_index, VerdictRow.replaces_reviews
        )
        .where(VerdictRow.audit_id == audit_id, VerdictRow.step_position == position)
        .order_by(VerdictRow.id)
    )
    rows = await session.execute(query)
    return [Fact(_kind(kind), content, point, replaces) for kind, content, point, replaces in rows]


async def anything_said(session: Writer | ReadSession, audit_id: int, position: int) -> bool:
    said = exists().where(VerdictRow.audit_id == audit_id, VerdictRow.step_position == position)
    return bool(await session.scalar(select(said)))


def _kind(text: str) -> history.Kind:
    kinds: dict[str, history.Kind] = {
        "run": "run",
        "confirmation": "confirmation",
        "chronology": "chronology",
        "rerun": "rerun",
        "review": "review",
    }
    return kinds[text]


async def open_step(session: Writer, audit_id: int, position: int) -> Held:
    """What holds of a step, about to be added to.

    A step that was stored without its verdict (by an earlier version, by an import) gets it now, as it stands.
    """
    found = await of_step(session, audit_id, position)
    if not found and (content := await _stored(session, audit_id, position)) is not None:
        await append(session, audit_id, position, kind="run", author=MODEL, content=content)
        found = [Fact("run", content)]
    return history.held(found)


async def _stored(session: Writer, audit_id: int, position: int) -> dict[str, Any] | None:
    """The rows of an analysed step as the content of a run."""
    step = (await session.execute(_of(StepResultRow, audit_id, position, *STEP_COLUMNS, "traite"))).first()
    if step is None or not step.traite:
        return None
    points: dict[int, dict[str, Any]] = {}
    numbered = ("control_point_index", *POINT_COLUMNS)
    for row in await session.execute(_of(ControlPointRow, audit_id, position, *numbered)):
        content = {name: getattr(row, name) for name in POINT_COLUMNS}
        number = row.control_point_index
        points[number] = {"numero": number, **content, "citations": [], "dropped": []}
    for table, names, kept in (
        (CitationRow, store.CITATION_COLUMNS, "citations"),
        (DroppedCitationRow, DROPPED_COLUMNS, "dropped"),
    ):
        for row in await session.execute(_of(table, audit_id, position, "control_point_index", *names)):
            if row.control_point_index in points:
                points[row.control_point_index][kept].append({name: getattr(row, name) for name in names})
    ordered = [points[number] for number in sorted(points)]
    return {**{name: getattr(step, name) for name in STEP_COLUMNS}, "points": ordered}


def _of(table: Any, audit_id: int, position: int, *names: str) -> Any:
    columns = [table.__table__.c[name] for name in names]
    here = select(*columns).where(table.audit_id == audit_id, table.step_position == position)
    return here.order_by(table.id)


# What holds, as rows


async def hold_again(session: Writer, audit_id: int, step: StepRule) -> None:
    """Puts what people said of a step back above what the model has just said of it, where they said anything."""
    found = await of_step(session, audit_id, step.position)
    if any(fact.kind == "review" for fact in found):
        await hold(session, audit_id, step, history.held(found))


async def hold(
    session: Writer, audit_id: int, step: StepRule, now: Held, *, quotes: Collection[int] = ()
) -> None:
    """Makes the rows of a step say what holds now.

    Args:
        session: of whoever holds the audit.
        audit_id: the audit.
        step: the rule of the audit's own revision.
        now: what holds.
        quotes: numbers of the points whose findings are others than before: their quotes are written anew.
    """
    place = {"audit_id": audit_id, "step_position": step.position}
    here = (StepResultRow.audit_id == audit_id, StepResultRow.step_position == step.position)
    await session.execute(update(StepResultRow).where(*here).values(**_step_values(step, now)))
    points = [place | _point_values(number, now.point(number)) for number in now.numbers]
    columns = ", ".join(f"{name} = excluded.{name}" for name in (*POINT_COLUMNS, "certainty"))
    upsert = f"on conflict (audit_id, step_position, control_point_index) do update set {columns}, updated_at = now()"
    await write_rows(session, Rows(ControlPointRow, points, upsert))
    if quotes:
        await _quote(session, place, now, quotes)


def _step_values(step: StepRule, now: Held) -> dict[str, Any]:
    shape = history.step_shape(step, now)
    findings = [now.points[number] for number in now.numbers]
    values: dict[str, Any] = {
        **{
            name: shape[name]
            for name in ("traite", "conforme", "score", "niveau_conformite", "total_citations")
        },
        "decided": None if now.decided is None else dict(now.decided),
    }
    if now.step is None:
        return values
    minutages = [minutage for finding in findings for minutage in finding["minutages"]]
    dropped = sum(len(finding["dropped"]) for finding in findings)
    return {
        **{name: now.step[name] for name in STEP_COLUMNS},
        **values,
        "raw_result": {**now.step["raw_result"], "evidence": _evidence(findings)},
        "minutages": list(dict.fromkeys(minutages)),
        "dropped_citations": dropped,
        "error": None,
    }


def _evidence(findings: Sequence[Json]) -> dict[str, int]:
    cited = [quote for finding in findings for quote in finding["citations"]]
    quotes = [quote for quote in cited if quote["match"] in LOCATED]
    return {
        "located": len(quotes),
        "relocated": sum(bool(quote["relocated"]) for quote in quotes),
        "aligned": sum(quote["match"] == "aligned" for quote in quotes),
        "dropped": sum(len(finding["dropped"]) for finding in findings),
    }


def _point_values(number: int, point: Mapping[str, Any]) -> dict[str, Any]:
    certainty = doubts.certainty(doubts.from_json(point["doubts"]))
    return {"control_point_index": number, **_only(point, POINT_COLUMNS), "certainty": certainty}


async def _quote(session: Writer, place: Mapping[str, int], now: Held, quotes: Collection[int]) -> None:
    for table in (CitationRow, DroppedCitationRow):
        await session.execute(
            delete(table).where(
                table.audit_id == place["audit_id"],
                table.step_position == place["step_position"],
                table.control_point_index.in_(quotes),
            )
        )
    found, refused = [], []
    for number in sorted(quotes):
        point = {**place, "control_point_index": number}
        cited = enumerate(now.points[number]["citations"], 1)
        found += [{**point, "citation_index": index, **quote} for index, quote in cited]
        refused += [{**point, **quote} for quote in now.points[number]["dropped"]]
    await write_rows(session, Rows(CitationRow, found), Rows(DroppedCitationRow, refused))
