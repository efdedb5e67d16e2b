"""Lists and groups of audits into the wire's shapes (spec/audits §10.2)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from conforme.audits.fiche_groups import FicheGroup
from conforme.audits.filters import Filters, cursor_text
from conforme.audits.grouping import Grouping, GroupRow, key_text
from conforme.audits.links import Links
from conforme.audits.list_queries import ListPage
from conforme.audits.list_rows import AUDIT_WIRE, BESIDE, FICHE_WIRE, JsonObject, shown
from conforme.audits.list_schemas import Group, GroupedFiche
from conforme.audits.models import STATUSES
from conforme.audits.queries import Verdicts
from conforme.audits.schemas import ConfigBrief
from conforme.audits.views import latest_view
from conforme.foundation.web import iso


def listed(
    audit: Row[Any], links: Links, *, results: bool = False, verdicts: Verdicts | None = None
) -> JsonObject:
    """One audit that `audits_listed` found, as `ListedAudit` says.

    With what it stored where `results` were read, with its steps where `verdicts` are given.
    """
    told = shown(audit, AUDIT_WIRE)
    earned, weight, name, description, fiche_id, groupe, nom, prenom, *_ = audit[BESIDE:]
    stored = audit.result_data if results else _short_result(told, earned, weight)
    told["resultData"] = stored if verdicts is None else latest_view(stored, verdicts)
    told["auditConfig"] = {"id": told["auditConfigId"], "name": name, "description": description}
    told["automationSchedule"], told["automationRun"] = links.shown(audit)
    told["ficheCache"] = fiche_id and {
        "ficheId": fiche_id,
        "groupe": groupe,
        "prospectNom": nom,
        "prospectPrenom": prenom,
    }
    return told


def _short_result(told: JsonObject, earned: Decimal | None, weight: Decimal | None) -> JsonObject:
    """What stands in `resultData` of a list: from the columns, at the places it has in what is stored."""
    if told["status"] != "completed":
        short = {"audit_id": told["trackingId"], "status": told["status"]}
        return short | ({"started_at": told["startedAt"]} if told["startedAt"] else {})
    compliance = {
        "score": float(told["scorePercentage"]),
        "niveau": told["niveau"],
        "points_critiques": f"{told['criticalPassed']}/{told['criticalTotal']}",
        "poids_obtenu": _number(earned),
        "poids_total": _number(weight),
    }
    return {
        "audit_db_id": told["id"],
        "audit_tracking_id": told["trackingId"],
        "audit": {"compliance": compliance},
    }


def _number(value: Decimal | None) -> float | None:
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
    told: dict[str, Any] = {
        "key": key_text(grouping, row.key),
        "count": row.count,
        "compliant_count": row.compliant,
        "non_compliant_count": row.completed - row.compliant,
        "avg_score": row.average,
        "min_score": row.lowest,
        "max_score": row.highest,
    }
    if grouping.by not in {"status", "niveau"}:
        told["status_counts"] = dict(zip(STATUSES, row.statuses, strict=True))
    named = names.get(row.key)
    if grouping.by == "fiche":
        told["fiche"] = GroupedFiche.model_validate(named) if named else None
    if grouping.by == "audit_config":
        told["audit_config"] = ConfigBrief.model_validate(named)
    if grouping.by in {"automation_schedule", "automation_run"}:
        told[grouping.by] = named
    return Group(**told)


def fiche_group(found: FicheGroup, links: Links, *, results: bool) -> JsonObject:
    """A fiche with its newest audits, as `AuditsOfOneFiche` says."""
    fiche = found.fiche
    return {
        "fiche": shown(fiche, FICHE_WIRE),
        "audits": [listed(each, links, results=results) for each in found.audits],
        "summary": {
            "totalAudits": fiche.total,
            "compliantCount": fiche.compliant,
            "averageScore": _number(fiche.average),
            "latestAuditDate": iso(fiche.latest),
        },
    }
