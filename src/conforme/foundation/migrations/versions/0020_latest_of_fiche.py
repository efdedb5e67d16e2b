"""Audits that lists show, by fiche and time: fiches are put in the order of their latest audit without hashing."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_audits_listed_by_fiche",
        "audits",
        ["fiche_cache_id", "created_at"],
        postgresql_include=["id"],
        postgresql_where=sa.text("is_latest is true and deleted_at is null"),
    )


def downgrade() -> None:
    op.drop_index("ix_audits_listed_by_fiche", "audits")
