"""Who speaks in a recording, what tools mode asked before it answered, and verdicts about the order of a call."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _speakers()
    _dialogues()
    _kinds("'run', 'confirmation', 'chronology', 'rerun', 'review'")


def downgrade() -> None:
    op.execute("alter table audit_verdicts disable trigger user")
    op.execute("delete from audit_verdicts where kind = 'chronology'")
    op.execute("alter table audit_verdicts enable trigger user")
    _kinds("'run', 'confirmation', 'rerun', 'review'")
    op.drop_table("audit_step_dialogues")
    op.drop_table("recording_speakers")


def _kinds(allowed: str) -> None:
    op.drop_constraint("ck_audit_verdicts_kind", "audit_verdicts")
    op.execute(
        f"alter table audit_verdicts add constraint ck_audit_verdicts_kind check (kind in ({allowed}))"
    )


def _speakers() -> None:
    op.create_table(
        "recording_speakers",
        _identity(),
        _created(),
        _of("recording_id", "recordings"),
        _text("words_sha256"),
        _text("speaker"),
        _text("role"),
        sa.Column("confidence", sa.Double(), nullable=False),
        _json("stretches"),
        _text("source"),
        _text("decided_by"),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "role in ('advisor', 'client', 'other', 'unknown')", name="ck_recording_speakers_role"
        ),
        sa.CheckConstraint("source in ('rules', 'model', 'person')", name="ck_recording_speakers_source"),
    )
    op.create_index("ix_recording_speakers_recording_id_id", "recording_speakers", ["recording_id", "id"])


def _dialogues() -> None:
    op.create_table(
        "audit_step_dialogues",
        _identity(),
        _created(),
        _of("audit_id", "audits"),
        sa.Column("step_position", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        _text("message"),
        _json("calls"),
        _json("spent"),
        sa.UniqueConstraint("audit_id", "step_position", "number", name="uq_audit_step_dialogues_place"),
    )


def _identity() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), primary_key=True)


def _created() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _of(name: str, table: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, JSONB(), nullable=False)
