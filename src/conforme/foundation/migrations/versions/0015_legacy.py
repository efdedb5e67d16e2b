"""What an import of the original keeps of itself."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "legacy_imports",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("cursor", sa.BigInteger(), server_default="0", nullable=False),
        _moment("updated_at"),
    )
    op.create_table(
        "legacy_ids",
        *_row(),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("written", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
    )
    op.create_index("ix_legacy_ids_kind_id", "legacy_ids", ["kind", "id"])
    op.create_table(
        "legacy_quarantine",
        *_row(),
        sa.Column("reason", sa.Text(), nullable=False),
        _moment("created_at"),
    )
    op.create_table(
        "legacy_schedules",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("legacy_table", sa.Text(), nullable=False),
        sa.Column("legacy_id", sa.BigInteger(), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
    )
    op.create_index("uq_legacy_schedules_row", "legacy_schedules", ["legacy_table", "legacy_id"], unique=True)


def downgrade() -> None:
    for table in ("legacy_schedules", "legacy_quarantine", "legacy_ids", "legacy_imports"):
        op.drop_table(table)


def _row() -> list[sa.Column[object]]:
    return [
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("legacy_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    ]


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
