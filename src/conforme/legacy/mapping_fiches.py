"""Fiches of the original as ours (spec/fiches §2.1). Pure.

Its section tables have the columns of ours. Rows from before there were any hold the whole payload as JSON in
`raw_data`: they are taken apart as a fresh answer of the gateway would be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from conforme.crm.schemas import FicheDetails
from conforme.fiches.layout import EXTRA, ROOT_KEY, Column, Node
from conforme.fiches.layout import Kind as Type
from conforme.fiches.layout import Row as SectionRow
from conforme.fiches.sections import INFORMATION, FicheRows, nodes, split
from conforme.legacy.errors import BadRow
from conforme.legacy.mapping_people import stamps
from conforme.legacy.source import Bundle
from conforme.legacy.values import LONG_AGO, Row, filled, flag, known, mapping, moment, text, texts, whole

ENVELOPE: Final = (
    "groupe",
    "agence_nom",
    "prospect_nom",
    "prospect_prenom",
    "prospect_email",
    "prospect_tel",
    "sales_date",
    "cle",
    "details_message",
)


@dataclass(frozen=True, slots=True)
class OldFiche:
    columns: dict[str, Any]
    """Of `fiche_cache`."""
    sections: FicheRows | None
    """None for a fiche that was only listed, or only denied."""
    details: FicheDetails | None
    """The payload of a row from before there were sections."""
    unread: bool
    """There is such a payload, and it cannot be read: the fiche comes without details, to be fetched anew."""


def fiche(bundle: Bundle) -> OldFiche:
    """A fiche with its sections."""
    raw = mapping(bundle.row, "raw_data")
    if bundle.of(INFORMATION.table):
        sections = _sections(bundle)
        return OldFiche(_columns(bundle.row, sections, raw, detailed=True), sections, None, unread=False)
    if isinstance(raw.get("information"), dict):
        details = _details(raw)
        if details is None:
            return OldFiche(_columns(bundle.row, None, raw, detailed=False), None, None, unread=True)
        sections = split(details.payload())
        left = sections.root["raw_data"]
        return OldFiche(_columns(bundle.row, sections, left, detailed=True), sections, details, unread=False)
    return OldFiche(_columns(bundle.row, None, raw, detailed=False), None, None, unread=False)


def _details(raw: Mapping[str, Any]) -> FicheDetails | None:
    try:
        return FicheDetails.model_validate({"success": True, "message": "OK", "recordings": [], **raw})
    except ValidationError:
        return None


def _columns(row: Row, sections: FicheRows | None, raw: dict[str, Any], *, detailed: bool) -> dict[str, Any]:
    fetched = moment(row, "fetched_at") or moment(row, "created_at") or LONG_AGO
    told = _information(sections)
    columns = {name: text(row, name) for name in ENVELOPE}
    listed = raw.get("_salesListOnly") is True
    return {
        "fiche_id": filled(row, "fiche_id"),
        **columns,
        "groupe": told.get("groupe") or columns["groupe"],
        "attribution_user_id": told.get("attribution_user_id"),
        "details_success": row.get("details_success"),
        "raw_data": raw,
        "has_recordings": flag(row, "has_recordings", default=False),
        "recordings_count": whole(row, "recordings_count"),
        "fetched_at": fetched,
        "expires_at": moment(row, "expires_at") or fetched,
        "last_revalidated_at": moment(row, "last_revalidated_at"),
        "details_fetched_at": fetched if detailed else None,
        "listed_at": (moment(row, "last_revalidated_at") or fetched) if listed else None,
        **stamps(row),
    }


def _information(sections: FicheRows | None) -> SectionRow:
    rows = sections.tables.get(INFORMATION.table, ()) if sections is not None else ()
    return rows[0] if rows else {}


# Sections


def _sections(bundle: Bundle) -> FicheRows:
    """The rows of all sections, numbered within each table as `split` numbers them."""
    local: dict[str, dict[Any, int]] = {}
    parents = {child.table: node for node in nodes() for child in node.below if child.parent_key != ROOT_KEY}
    tables: dict[str, Sequence[SectionRow]] = {}
    for node in nodes():
        found = bundle.of(node.table)
        local[node.table] = {row.get("id"): number for number, row in enumerate(found, 1)}
        above = parents.get(node.table)
        ids = local[above.table] if above else None
        tables[node.table] = [_row(node, row, number, ids) for number, row in enumerate(found, 1)]
    return FicheRows({"id": 1}, tables)


def _row(node: Node, row: Row, number: int, parents: Mapping[Any, int] | None) -> SectionRow:
    try:
        made: SectionRow = {
            column.name: _value(column, row) for column in (*node.columns, *node.derived_columns)
        }
        if node.is_list:
            made[node.index_column] = whole(row, node.index_column) or number
        if node.key_column:
            made[node.key_column] = text(row, node.key_column) or ""
    except BadRow as bad:
        raise BadRow(f"{node.table}.{bad.reason}") from None
    parent = 1 if parents is None else parents.get(known(row, node.parent_key))
    if parent is None:
        raise BadRow(f"{node.table}.{node.parent_key}: refers to a row that is not there")
    return {**made, "id": number, node.parent_key: parent, EXTRA: None}


def _value(column: Column, row: Row) -> Any:
    match column.kind:
        case Type.TEXT:
            return text(row, column.name)
        case Type.NUMBER:
            return whole(row, column.name)
        case Type.FLAG:
            return None if row.get(column.name) is None else flag(row, column.name, default=False)
        case Type.TEXTS:
            return None if row.get(column.name) is None else texts(row, column.name)
        case Type.JSON:
            return row.get(column.name)
