"""Audits as rows, for tests of what reads them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import insert

from conforme.audit_configs.revisions import Revision, revision_for_run
from conforme.audit_configs.service import import_rules
from conforme.audits.models import AuditRow, CitationRow, ControlPointRow, StepResultRow
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database, WriteSession, now
from rubrics import rules


async def configured(database: Database, name: str = "Grille d'essai", steps: int = 2) -> Revision:
    """A configuration and its first revision."""
    async with database.write() as session:
        imported = await import_rules(session, rules(name, steps))
        return await revision_for_run(session, imported.id)


async def fiche(
    session: WriteSession, fiche_id: str, groupe: str | None = "EQUIPE R1", **columns: Any
) -> int:
    row = FicheCache(
        **{
            "fiche_id": fiche_id,
            "groupe": groupe,
            "agence_nom": "1-LYON",
            "prospect_nom": "MARTEL",
            "prospect_prenom": "Odile",
            "prospect_email": "odile@example.test",
            "prospect_tel": "0199001234",
            "expires_at": now() + timedelta(days=1),
            "details_success": True,
        }
        | columns
    )
    session.add(row)
    await session.flush()
    return row.id


async def audit(session: WriteSession, pinned: Revision, number: int, **columns: Any) -> int:
    """A completed audit of its own fiche, unless `columns` say otherwise."""
    cache_id = columns.pop("fiche_cache_id", None) or await fiche(session, str(900_000 + number))
    row = AuditRow(
        **{
            "tracking_id": f"audit-{900_000 + number}-{pinned.config_id}-{number}",
            "job_id": f"audit-{900_000 + number}-{pinned.config_id}-{number}",
            "fiche_id": str(900_000 + number),
            "fiche_cache_id": cache_id,
            "audit_config_id": pinned.config_id,
            "config_revision_id": pinned.id,
            "requested_by": "test",
            "trigger_source": "api",
            "status": "completed",
            "overall_score": Decimal("85.50"),
            "score_percentage": Decimal("85.50"),
            "niveau": "BON",
            "is_compliant": True,
            "result_data": {"audit": {"results": {"compliance": {}}}},
        }
        | columns
    )
    session.add(row)
    await session.flush()
    return row.id


async def step(session: WriteSession, audit_id: int, position: int) -> None:
    """One analysed step with a control point, about which there is a doubt, and a quote."""
    place = {"audit_id": audit_id, "step_position": position}
    await session.execute(
        insert(StepResultRow).values(
            **place,
            step_name=f"Étape {position}",
            severity_level="HIGH",
            is_critical=False,
            weight=5,
            traite=True,
            conforme="CONFORME",
            score=Decimal(5),
            niveau_conformite="EXCELLENT",
            raw_result={"step_metadata": {"position": position}},
        )
    )
    await session.execute(
        insert(ControlPointRow).values(
            **place,
            control_point_index=1,
            point="Le conseiller se présente.",
            statut="PRESENT",
            model_statut="PRESENT",
            commentaire="Dit au début.",
            minutages=["00:03"],
            erreur_transcription_notee=False,
            doubts=[{"reason": "low_recognition", "certainty": 0.6}],
            certainty=0.6,
        )
    )
    await session.execute(
        insert(CitationRow).values(
            **place,
            control_point_index=1,
            citation_index=1,
            texte="je suis votre conseiller",
            claimed="je suis votre conseiller",
            minutage="00:03",
            minutage_secondes=3.2,
            speaker="speaker_0",
            recording_index=0,
            chunk_index=0,
            recording_date="05/01/2026",
            recording_time="08:14",
            recording_url="N/A",
            start_ms=3200,
            end_ms=4100,
            match="exact",
            relocated=False,
            beside_negation=False,
            first_turn=0,
            last_turn=0,
            first_word=4,
            last_word=7,
        )
    )
