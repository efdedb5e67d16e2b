"""Whose a fiche is stands on its cache row, and lists of audits find what is whose by index."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BACKFILL = """
update fiche_cache
   set groupe = coalesce(nullif(told.groupe, ''), fiche_cache.groupe),
       attribution_user_id = nullif(told.attribution_user_id, '')
  from fiche_cache_information told
 where told.fiche_cache_id = fiche_cache.id
"""

LISTED = sa.text("is_latest is true and deleted_at is null")
"""What lists of audits show unless they are asked for more."""


def upgrade() -> None:
    op.add_column("fiche_cache", sa.Column("attribution_user_id", sa.Text()))
    op.execute(BACKFILL)
    op.drop_index("ix_fiche_cache_groupe", "fiche_cache")
    op.create_index("ix_fiche_cache_groupe", "fiche_cache", ["groupe", "id"])
    op.create_index("ix_fiche_cache_attribution_user_id", "fiche_cache", ["attribution_user_id", "id"])
    op.create_index(
        "ix_audits_listed",
        "audits",
        ["created_at", "id"],
        postgresql_include=["fiche_cache_id"],
        postgresql_where=LISTED,
    )
    op.create_index(
        "ix_audits_listed_of_fiche",
        "audits",
        ["fiche_cache_id"],
        postgresql_include=["created_at", "id"],
        postgresql_where=LISTED,
    )


def downgrade() -> None:
    op.drop_index("ix_audits_listed_of_fiche", "audits")
    op.drop_index("ix_audits_listed", "audits")
    op.drop_index("ix_fiche_cache_attribution_user_id", "fiche_cache")
    op.drop_index("ix_fiche_cache_groupe", "fiche_cache")
    op.create_index("ix_fiche_cache_groupe", "fiche_cache", ["groupe"])
    op.drop_column("fiche_cache", "attribution_user_id")
