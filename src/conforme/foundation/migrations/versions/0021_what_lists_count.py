"""What lists count by, in their narrow index; what is known of a fiche's audits, in the order of time."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

LISTED = [
    "audit_config_id",
    "status",
    "niveau",
    "is_compliant",
    "score_percentage",
    "automation_schedule_id",
    "automation_run_id",
]
FACTS = [
    "audit_config_id",
    "status",
    "niveau",
    "is_compliant",
    "score_percentage",
    "completed_at",
    "duration_ms",
    "total_tokens",
    "failed_steps",
    "automation_schedule_id",
    "automation_run_id",
    "trigger_source",
    "is_latest",
    "deleted_at",
]


def upgrade() -> None:
    _listed([*LISTED])
    _of_fiche(["fiche_cache_id", "created_at"], ["id", *FACTS])


def downgrade() -> None:
    _of_fiche(["fiche_cache_id"], ["created_at", "id", *FACTS])
    _listed([])


def _listed(facts: list[str]) -> None:
    op.drop_index("ix_audits_listed", "audits")
    op.create_index(
        "ix_audits_listed",
        "audits",
        ["created_at", "id"],
        postgresql_include=["fiche_cache_id", *facts],
        postgresql_where=sa.text("is_latest is true and deleted_at is null"),
    )


def _of_fiche(columns: list[str], facts: list[str]) -> None:
    op.drop_index("ix_audits_facts_of_fiche", "audits")
    op.create_index("ix_audits_facts_of_fiche", "audits", columns, postgresql_include=facts)
