"""Lists and groups of audits into the wire's shapes (spec/audits §10.2)."""

from collections.abc import Mapping
from typing import Any, Final

from conforme.audits.fiche_groups import FicheGroup
from conforme.audits.filters import Filters, cursor_text
from conforme.audits.grouping import Grouping, GroupRow, key_text
from conforme.audits.list_queries import ListPage
from conforme.audits.list_schemas import (
    AuditsOfOneFiche,
    FicheOfAudits,
    FicheSummary,
    Group,
    GroupedFiche,
    ListedAudit,
)
from conforme.audits.models import STATUSES, AuditRow
from conforme.audits.queries import Found, Verdicts
from conforme.audits.schemas import ConfigBrief, FicheBrief
from conforme.audits.views import latest_view
from conforme.foundation.web import iso

_ELSEWHERE: Final = {"audit_config", "automation_schedule", "automation_run", "fiche_cache", "result_data"}
_COLUMNS: Final = [name for name in ListedAudit.model_fields if name not in _ELSEWHERE]


def listed(found: Found, *, results: bool = False, verdicts: Verdicts | None = None) -> ListedAudit:
    """One audit of a list: with what it stored where `results` were read, with its steps where `verdicts` are given."""
    fields: dict[str, Any] = {name: getattr(found.audit, name) for name in _COLUMNS}
    stored = found.audit.result_data if results else short_result(found.audit)
    return ListedAudit.model_validate(
        fields
        | {
            "audit_config": ConfigBrief.model_validate(found.config),
            "fiche_cache": FicheBrief.model_validate(found.fiche) if found.fiche else None,
            "result_data": stored if verdicts is None else latest_view(stored, verdicts),
        }
    )


def short_result(audit: AuditRow) -> dict[str, Any]:
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
        shown[grouping.by] = None
    return Group(**shown)


def fiche_group(found: FicheGroup, *, results: bool) -> AuditsOfOneFiche:
    summary = found.summary
    return AuditsOfOneFiche(
        fiche=FicheOfAudits.model_validate(found.fiche),
        audits=[listed(each, results=results) for each in found.audits],
        summary=FicheSummary(
            total_audits=summary.total,
            compliant_count=summary.compliant,
            average_score=_number(summary.average),
            latest_audit_date=summary.latest,
        ),
    )
