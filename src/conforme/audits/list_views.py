"""Lists and groups of audits into the wire's shapes (spec/audits §10.2)."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from pydantic.alias_generators import to_camel
from sqlalchemy import DateTime, Numeric
from sqlalchemy.types import TypeEngine

from conforme.audits.fiche_groups import FicheGroup
from conforme.audits.filters import Filters, cursor_text
from conforme.audits.grouping import Grouping, GroupRow, key_text
from conforme.audits.links import Links
from conforme.audits.list_queries import ListPage
from conforme.audits.list_schemas import (
    FicheOfAudits,
    Group,
    GroupedFiche,
    ListedAudit,
)
from conforme.audits.models import STATUSES, AuditRow
from conforme.audits.queries import Found, Verdicts
from conforme.audits.schemas import ConfigBrief
from conforme.audits.views import latest_view
from conforme.foundation.database import Base
from conforme.foundation.web import decimal_text, iso

JsonObject = dict[str, Any]

_ELSEWHERE: Final = {"audit_config", "automation_schedule", "automation_run", "fiche_cache", "result_data"}
_COLUMNS: Final = tuple(name for name in ListedAudit.model_fields if name not in _ELSEWHERE)
_IDS: Final = frozenset(name for name in _COLUMNS if name == "id" or name.endswith("_id")) - {
    "tracking_id",
    "fiche_id",
    "trigger_user_id",
}
_FICHE_COLUMNS: Final = tuple(FicheOfAudits.model_fields)


def listed(
    found: Found, links: Links, *, results: bool = False, verdicts: Verdicts | None = None
) -> JsonObject:
    """One audit of a list, as `ListedAudit` says, written by hand: a page has hundreds of them.

    With what it stored where `results` were read, with its steps where `verdicts` are given.
    """
    audit, config, fiche = found.audit, found.config, found.fiche
    stored = audit.result_data if results else short_result(audit)
    return _plain(audit, _COLUMNS) | {
        "resultData": stored if verdicts is None else latest_view(stored, verdicts),
        "auditConfig": {"id": str(config.id), "name": config.name, "description": config.description},
        **links.shown(audit),
        "ficheCache": fiche
        and {
            "ficheId": fiche.fiche_id,
            "groupe": fiche.groupe,
            "prospectNom": fiche.prospect_nom,
            "prospectPrenom": fiche.prospect_prenom,
        },
    }


Writer = Callable[[Any], Any]


def _plain(row: Base, names: tuple[str, ...]) -> JsonObject:
    """Columns under their names on the wire: ids as text, times and scores as the wire writes them."""
    held = (
        row.__dict__
    )  # what was read, past the instrumentation of attributes: that would take most of the time
    shown: JsonObject = {}
    for name, wire, write in _written(type(row), names):
        value = held[name]
        shown[wire] = value if write is None or value is None else write(value)
    return shown


@cache
def _written(table: type[Base], names: tuple[str, ...]) -> list[tuple[str, str, Writer | None]]:
    """Each column, its name on the wire, and how its values are written where they are not as they are."""
    columns = table.__table__.columns
    return [(name, to_camel(name), _writer(name, columns[name].type)) for name in names]


def _writer(name: str, kind: TypeEngine[Any]) -> Writer | None:
    if isinstance(kind, DateTime):
        return iso
    if isinstance(kind, Numeric):
        return decimal_text
    return str if name in _IDS else None


def short_result(audit: AuditRow) -> JsonObject:
    """What stands in `resultData` of a list: from the columns, at the places it has in what is stored."""
    if audit.status != "completed":
        told = {"audit_id": audit.tracking_id, "status": audit.status}
        return told | ({"started_at": iso(audit.started_at)} if audit.started_at else {})
    compliance = {
        "score": float(audit.score_percentage),
        "niveau": audit.niveau,
        "points_critiques": f"{audit.critical_passed}/{audit.critical_total}",
        "poids_obtenu": _number(audit.earned_weight),
        "poids_total": _number(audit.total_weight),
    }
    return {
        "audit_db_id": str(audit.id),
        "audit_tracking_id": audit.tracking_id,
        "audit": {"compliance": compliance},
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def pagination(page: ListPage, filters: Filters) -> dict[str, Any]:
    """The contract's object, and `next_cursor` where more follows; behind a cursor there is no offset, no total."""
    if page.total is None:
        told: dict[str, Any] = {"limit": filters.page.limit, "has_next_page": page.next is not None}
    else:
        told = filters.page.describe(page.total)
    if page.next is None:
        return told
    return told | {"next_cursor": cursor_text(filters.sort_by, page.next, descending=filters.descending)}


def group(row: GroupRow, grouping: Grouping, names: Mapping[int, Any]) -> Group:
    """One group, with whom its key names."""
    shown: dict[str, Any] = {
        "key": key_text(grouping, row.key),
        "count": row.count,
        "compliant_count": row.compliant,
        "non_compliant_count": row.completed - row.compliant,
        "avg_score": row.average,
        "min_score": row.lowest,
        "max_score": row.highest,
    }
    if grouping.by not in {"status", "niveau"}:
        shown["status_counts"] = dict(zip(STATUSES, row.statuses, strict=True))
    named = names.get(row.key)
    if grouping.by == "fiche":
        shown["fiche"] = GroupedFiche.model_validate(named) if named else None
    if grouping.by == "audit_config":
        shown["audit_config"] = ConfigBrief.model_validate(named)
    if grouping.by in {"automation_schedule", "automation_run"}:
        shown[grouping.by] = named
    return Group(**shown)


def fiche_group(found: FicheGroup, links: Links, *, results: bool) -> JsonObject:
    """A fiche with its newest audits, as `AuditsOfOneFiche` says."""
    summary = found.summary
    return {
        "fiche": _plain(found.fiche, _FICHE_COLUMNS),
        "audits": [listed(each, links, results=results) for each in found.audits],
        "summary": {
            "totalAudits": summary.total,
            "compliantCount": summary.compliant,
            "averageScore": _number(summary.average),
            "latestAuditDate": iso(summary.latest),
        },
    }
