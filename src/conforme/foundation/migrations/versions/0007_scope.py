"""Whose a fiche is stands on its cache row: its groupe, and the CRM user it is attributed to."""

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


def upgrade() -> None:
    op.add_column("fiche_cache", sa.Column("attribution_user_id", sa.Text()))
    op.execute(BACKFILL)
    op.create_index("ix_fiche_cache_attribution_user_id", "fiche_cache", ["attribution_user_id"])


def downgrade() -> None:
    op.drop_index("ix_fiche_cache_attribution_user_id", "fiche_cache")
    op.drop_column("fiche_cache", "attribution_user_id")
