"""Tables of the audits (spec/audits §12): what was judged, by which rules, on which words, and what it cost."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Identified, Updated

STATUSES = ("pending", "running", "completed", "failed")
OPEN = ("pending", "running")
LISTED = [
    "audit_config_id",
    "status",
    "niveau",
    "is_compliant",
    "score_percentage",
    "automation_schedule_id",
    "automation_run_id",
]
"""What audits are grouped by and shown first."""
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
"""All that lists filter, sort and group by."""


class TranscriptSnapshot(Identified, Base):
    """The words an audit judged, frozen; audits of the same words share one row."""

    __tablename__ = "transcript_snapshots"

    fiche_id: Mapped[str] = mapped_column(Text, index=True)
    sha256: Mapped[str] = mapped_column(Text, unique=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """The timeline's JSON, deflated."""
    recordings_count: Mapped[int]
    chunks_count: Mapped[int]


class AuditRow(Updated, Base):
    __tablename__ = "audits"
    __table_args__ = (
        CheckConstraint("status in ('pending', 'running', 'completed', 'failed')", name="status"),
        Index(
            "ix_audits_open",
            "status",
            "updated_at",
            postgresql_where=text("status in ('pending', 'running')"),
        ),
        Index("ix_audits_fiche_id_is_latest", "fiche_id", "is_latest"),
        # What lists filter, sort and group by, beside rows that are many times as wide: in the order of lists, and by
        # the fiche that decides who sees it.
        Index("ix_audits_facts", "created_at", "id", postgresql_include=["fiche_cache_id", *FACTS]),
        Index("ix_audits_facts_of_fiche", "fiche_cache_id", "created_at", postgresql_include=["id", *FACTS]),
        Index("ix_audits_with_error", "id", postgresql_where=text("error_message is not null")),
        Index("ix_audits_without_fiche", "fiche_id", "id", postgresql_where=text("fiche_cache_id is null")),
        # What lists show unless they are asked for more. PostgreSQL unpacks all columns of what it reads of an index:
        # without those that few ask for, the rest is read in half the time.
        Index(
            "ix_audits_listed",
            "created_at",
            "id",
            postgresql_include=["fiche_cache_id", *LISTED],
            postgresql_where=text("is_latest is true and deleted_at is null"),
        ),
        # The same by fiche: for who sees a part, and the latest of each without hashing.
        Index(
            "ix_audits_listed_by_fiche",
            "fiche_cache_id",
            "created_at",
            postgresql_include=["id"],
            postgresql_where=text("is_latest is true and deleted_at is null"),
        ),
        Index(None, "is_compliant"),
        Index(None, "trigger_source"),
        Index(None, "deleted_at"),
    )

    tracking_id: Mapped[str] = mapped_column(Text, unique=True)
    """`audit-<fiche>-<config>-<ms>`: what clients know from the moment they asked."""
    job_id: Mapped[str] = mapped_column(Text)
    """The durable job that works on it now, or worked on it last."""
    fiche_id: Mapped[str] = mapped_column(Text)
    fiche_cache_id: Mapped[int | None] = mapped_column(ForeignKey("fiche_cache.id", ondelete="RESTRICT"))
    """None until the fiche is known."""
    audit_config_id: Mapped[int] = mapped_column(
        ForeignKey("audit_configs.id", ondelete="RESTRICT"), index=True
    )
    config_revision_id: Mapped[int] = mapped_column(
        ForeignKey("audit_config_revisions.id", ondelete="RESTRICT"), index=True
    )
    transcript_snapshot_id: Mapped[int | None] = mapped_column(
        ForeignKey("transcript_snapshots.id", ondelete="RESTRICT"), index=True
    )
    automation_schedule_id: Mapped[int | None] = mapped_column(index=True)
    automation_run_id: Mapped[int | None] = mapped_column(index=True)
    trigger_source: Mapped[str | None] = mapped_column(Text)
    trigger_user_id: Mapped[str | None] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    """Name of the actor who asked."""
    use_rlm: Mapped[bool] = mapped_column(server_default=text("false"))
    model: Mapped[str | None] = mapped_column(Text)
    prompt_version: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[str | None] = mapped_column(Text)
    deleted_at: Mapped[datetime | None]

    status: Mapped[str] = mapped_column(Text, server_default="pending")
    overall_score: Mapped[Decimal] = mapped_column(Numeric(5, 2), server_default="0")
    score_percentage: Mapped[Decimal] = mapped_column(Numeric(5, 2), server_default="0")
    niveau: Mapped[str] = mapped_column(Text, server_default="PENDING")
    is_compliant: Mapped[bool] = mapped_column(server_default=text("false"))
    critical_passed: Mapped[int] = mapped_column(server_default="0")
    critical_total: Mapped[int] = mapped_column(server_default="0")
    earned_weight: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    total_weight: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    failed_phase: Mapped[str | None] = mapped_column(Text)
    total_tokens: Mapped[int | None]
    successful_steps: Mapped[int | None]
    failed_steps: Mapped[int | None]
    recordings_count: Mapped[int | None]
    timeline_chunks: Mapped[int | None]
    result_data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    version: Mapped[int] = mapped_column(server_default="1")
    is_latest: Mapped[bool] = mapped_column(server_default=text("true"))


class StepResultRow(Updated, Base):
    """What is known of one step; `traite` is false when it could not be analysed: an outage is never a verdict."""

    __tablename__ = "audit_step_results"
    __table_args__ = (UniqueConstraint("audit_id", "step_position"), Index(None, "conforme"))

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"))
    step_position: Mapped[int]
    step_name: Mapped[str] = mapped_column(Text)
    severity_level: Mapped[str] = mapped_column(Text)
    is_critical: Mapped[bool]
    weight: Mapped[int]
    traite: Mapped[bool]
    conforme: Mapped[str | None] = mapped_column(Text)
    """None when the step was not analysed."""
    score: Mapped[Decimal | None] = mapped_column(Numeric(7, 2))
    """None when not analysed or when nothing in it applies."""
    niveau_conformite: Mapped[str | None] = mapped_column(Text)
    commentaire_global: Mapped[str] = mapped_column(Text, server_default="")
    mots_cles_trouves: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    minutages: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    erreurs_transcription_tolerees: Mapped[int] = mapped_column(server_default="0")
    total_citations: Mapped[int] = mapped_column(server_default="0")
    dropped_citations: Mapped[int] = mapped_column(server_default="0")
    total_tokens: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None] = mapped_column(Text)
    given_up_by: Mapped[str | None] = mapped_column(Text)
    """The durable job that could not analyse it, the last one that told so."""
    raw_result: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    """`step_metadata`, `usage`, `evidence` statistics and the model's own score, kept as information."""
    decided: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What a person concluded on the step as a whole: it counts in the place of the statuses."""


class ControlPointRow(Updated, Base):
    __tablename__ = "audit_step_result_control_points"
    __table_args__ = (
        ForeignKeyConstraint(
            ["audit_id", "step_position"],
            ["audit_step_results.audit_id", "audit_step_results.step_position"],
            ondelete="CASCADE",
            name="fk_audit_step_result_control_points_step",
        ),
        UniqueConstraint(
            "audit_id", "step_position", "control_point_index", name="uq_audit_control_points_place"
        ),
        Index(
            "ix_audit_control_points_unsure",
            "certainty",
            "id",
            postgresql_where=text("certainty is not null"),
        ),
    )

    audit_id: Mapped[int]
    step_position: Mapped[int]
    control_point_index: Mapped[int]
    point: Mapped[str] = mapped_column(Text)
    statut: Mapped[str] = mapped_column(Text)
    commentaire: Mapped[str] = mapped_column(Text)
    minutages: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    erreur_transcription_notee: Mapped[bool]
    variation_phonetique_utilisee: Mapped[str | None] = mapped_column(Text)
    model_statut: Mapped[str] = mapped_column(Text)
    """What the model said before its quotes were looked for."""
    doubts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    """What speaks against the status: `[{reason, certainty}]`, as `doubts.to_json` writes it."""
    certainty: Mapped[float | None]
    """That of the doubt which weighs most; None where there is none, or a person has looked."""


class CitationRow(Identified, Base):
    """Words really spoken: where, when and by whom, read off the words themselves."""

    __tablename__ = "audit_step_result_citations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["audit_id", "step_position", "control_point_index"],
            [
                "audit_step_result_control_points.audit_id",
                "audit_step_result_control_points.step_position",
                "audit_step_result_control_points.control_point_index",
            ],
            ondelete="CASCADE",
            name="fk_audit_step_result_citations_point",
        ),
        UniqueConstraint(
            "audit_id",
            "step_position",
            "control_point_index",
            "citation_index",
            name="uq_audit_citations_place",
        ),
    )

    audit_id: Mapped[int]
    step_position: Mapped[int]
    control_point_index: Mapped[int]
    citation_index: Mapped[int]
    texte: Mapped[str] = mapped_column(Text)
    claimed: Mapped[str] = mapped_column(Text)
    minutage: Mapped[str] = mapped_column(Text)
    minutage_secondes: Mapped[float | None]
    speaker: Mapped[str] = mapped_column(Text)
    recording_index: Mapped[int]
    chunk_index: Mapped[int]
    recording_date: Mapped[str] = mapped_column(Text)
    recording_time: Mapped[str] = mapped_column(Text)
    recording_url: Mapped[str] = mapped_column(Text)
    start_ms: Mapped[int | None] = mapped_column(BigInteger)
    end_ms: Mapped[int | None] = mapped_column(BigInteger)
    match: Mapped[str] = mapped_column(Text)
    relocated: Mapped[bool]
    """The model cited another place than the words'."""
    beside_negation: Mapped[bool]
    first_turn: Mapped[int]
    last_turn: Mapped[int]
    first_word: Mapped[int]
    last_word: Mapped[int]


class DroppedCitationRow(Identified, Base):
    """A quote that was not found in the call: never shown as evidence, kept for inspection."""

    __tablename__ = "audit_dropped_citations"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), index=True)
    step_position: Mapped[int]
    control_point_index: Mapped[int]
    texte: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    enregistrement: Mapped[int]
    tour: Mapped[int]
    """The place the model claimed, counted from 1 as it was shown."""


class VerdictRow(Identified, Base):
    """What was once said of a step or of one of its points, by the model or by a person. Never changed, never deleted.

    The rows above say what holds now: `history.held` makes them of these.
    """

    __tablename__ = "audit_verdicts"
    __table_args__ = (
        CheckConstraint("kind in ('run', 'confirmation', 'chronology', 'rerun', 'review')", name="kind"),
        Index(None, "audit_id", "step_position", "id"),
    )

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="RESTRICT"))
    step_position: Mapped[int]
    control_point_index: Mapped[int | None]
    """None when it is about the step as a whole."""
    kind: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    """Name of the actor: `system:audit`, `user:<id>`, `token:<fingerprint>`."""
    user_id: Mapped[int | None]
    model: Mapped[str | None] = mapped_column(Text)
    prompt_version: Mapped[str | None] = mapped_column(Text)
    config_revision_id: Mapped[int | None] = mapped_column(
        ForeignKey("audit_config_revisions.id", ondelete="RESTRICT")
    )
    transcript_snapshot_id: Mapped[int | None] = mapped_column(
        ForeignKey("transcript_snapshots.id", ondelete="RESTRICT")
    )
    """The rules and the words it was said of."""
    reference: Mapped[str | None] = mapped_column(Text, unique=True)
    """Name of the work that said it: a repetition appends nothing."""
    event_id: Mapped[str | None] = mapped_column(Text)
    custom_prompt: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    """Why a person overruled."""
    replaces_reviews: Mapped[bool] = mapped_column(server_default=text("false"))
    """A rerun that was allowed to take the place of what people had said."""
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """As `history` reads it: findings with their quotes, or what a person decided."""
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What held before and after it, in the words of spec/audits §9.3."""


class RerunRow(Updated, Base):
    """A wish that the model look again, and how far it is."""

    __tablename__ = "audit_reruns"
    __table_args__ = (
        CheckConstraint("status in ('queued', 'running', 'completed', 'failed')", name="status"),
        Index(None, "audit_id", "id"),
        Index(
            "ix_audit_reruns_open",
            "updated_at",
            postgresql_where=text("status in ('queued', 'running')"),
        ),
    )

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="RESTRICT"))
    step_position: Mapped[int]
    control_point_index: Mapped[int | None]
    event_id: Mapped[str] = mapped_column(Text, unique=True)
    """Id of the durable job, too."""
    custom_prompt: Mapped[str | None] = mapped_column(Text)
    use_current: Mapped[bool]
    """Judge by today's rules and words instead of those of the audit."""
    replace_reviews: Mapped[bool]
    config_revision_id: Mapped[int] = mapped_column(
        ForeignKey("audit_config_revisions.id", ondelete="RESTRICT")
    )
    transcript_snapshot_id: Mapped[int | None] = mapped_column(
        ForeignKey("transcript_snapshots.id", ondelete="RESTRICT")
    )
    requested_by: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int | None]
    status: Mapped[str] = mapped_column(Text, server_default="queued")
    error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
