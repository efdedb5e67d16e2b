"""Lists of audits find, count and group by narrow indexes alone; the lines of workflows are kept where asked for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

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
"""What lists filter, sort and group by. A row of `audits` also holds its result: it is many times as wide."""

SOUGHT = (
    "lower(left(fiche_id, 40) || chr(10) || coalesce(left(prospect_prenom, 100), '') || ' ' ||"
    " coalesce(left(prospect_nom, 100), '') || ' ' || coalesce(left(prospect_prenom, 100), ''))"
)
SOUGHT_CONTACT = (
    "lower(coalesce(left(prospect_email, 200), '') || chr(10) || coalesce(left(prospect_tel, 40), ''))"
)
SOUGHT_AGENCE = "lower(coalesce(left(agence_nom, 100), ''))"
FICHE_FACTS = [
    "groupe",
    "attribution_user_id",
    "sales_date",
    "has_recordings",
    "recordings_count",
    "fetched_at",
    "last_revalidated_at",
    "sought",
    "sought_contact",
    "sought_agence",
]

LOG_EVENTS = """
create function log_workflow_events() returns trigger language plpgsql as $$
begin
  insert into workflow_logs (workflow, level, entity_type, entity_id, trace_id, inngest_event_id, step_name, message,
                             data, created_at)
  select workflow,
         case when name ~ '[._/]failed$' then 'error' else 'info' end,
         case workflow when 'audit' then 'audit' when 'automation' then 'automation_run' else 'fiche' end,
         case workflow when 'audit' then coalesce(payload ->> 'audit_db_id', payload ->> 'audit_id')
                       when 'automation' then payload ->> 'run_id'
                       else payload ->> 'fiche_id' end,
         coalesce(payload ->> 'rerun_id', payload ->> 'event_id', payload ->> 'run_id', payload ->> 'audit_id'),
         coalesce(payload ->> 'event_id', payload ->> 'run_id'),
         payload ->> 'step_name',
         left(name || coalesce(': ' || (payload ->> 'error'), ''), 2000),
         (payload - 'error') || jsonb_build_object('event_uid', id::text),
         created_at
    from (select w.*, split_part(replace(w.name, '/', '.'), '.', 1) as workflow from written w) told
   where workflow in ('audit', 'transcription', 'automation', 'fiche')
   order by id;
  return null;
end $$
"""
LOG_TRIGGER = """
create trigger log_workflow_events after insert on events referencing new table as written for each statement
  when (current_setting('conforme.workflow_log', true) = 'on') execute function log_workflow_events()
"""


def upgrade() -> None:
    _index_audits()
    _index_fiches()
    _create_workflow_logs()


def _index_audits() -> None:
    op.create_index(
        "ix_audits_facts", "audits", ["created_at", "id"], postgresql_include=["fiche_cache_id", *FACTS]
    )
    op.create_index(
        "ix_audits_facts_of_fiche",
        "audits",
        ["fiche_cache_id"],
        postgresql_include=["created_at", "id", *FACTS],
    )
    op.create_index(
        "ix_audits_with_error", "audits", ["id"], postgresql_where=sa.text("error_message is not null")
    )
    op.create_index(
        "ix_audits_without_fiche",
        "audits",
        ["fiche_id", "id"],
        postgresql_where=sa.text("fiche_cache_id is null"),
    )
    for replaced in ("created_at_id", "fiche_cache_id", "listed_of_fiche"):
        op.drop_index(f"ix_audits_{replaced}", "audits")


def _index_fiches() -> None:
    for name, told in (
        ("sought", SOUGHT),
        ("sought_contact", SOUGHT_CONTACT),
        ("sought_agence", SOUGHT_AGENCE),
    ):
        op.add_column("fiche_cache", sa.Column(name, sa.Text(), sa.Computed(told, persisted=True)))
    op.create_index("ix_fiche_cache_facts", "fiche_cache", ["id"], postgresql_include=FICHE_FACTS)


def _create_workflow_logs() -> None:
    op.create_table(
        "workflow_logs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("entity_type", sa.Text()),
        sa.Column("entity_id", sa.Text()),
        sa.Column("trace_id", sa.Text()),
        sa.Column("inngest_event_id", sa.Text()),
        sa.Column("function_id", sa.Text()),
        sa.Column("step_name", sa.Text()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workflow_logs"),
    )
    for columns in (["workflow", "entity_type", "entity_id", "id"], ["trace_id"], ["level"], ["created_at"]):
        op.create_index(f"ix_workflow_logs_{'_'.join(columns)}", "workflow_logs", columns)
    op.create_index("ix_workflow_logs_inngest_event_id", "workflow_logs", ["inngest_event_id"])
    op.execute(LOG_EVENTS)
    op.execute(LOG_TRIGGER)


def downgrade() -> None:
    op.execute("drop trigger log_workflow_events on events")
    op.execute("drop function log_workflow_events()")
    op.drop_table("workflow_logs")
    op.drop_index("ix_fiche_cache_facts", "fiche_cache")
    op.drop_column("fiche_cache", "sought_agence")
    op.drop_column("fiche_cache", "sought_contact")
    op.drop_column("fiche_cache", "sought")
    op.create_index("ix_audits_created_at_id", "audits", ["created_at", "id"])
    op.create_index("ix_audits_fiche_cache_id", "audits", ["fiche_cache_id"])
    op.create_index(
        "ix_audits_listed_of_fiche",
        "audits",
        ["fiche_cache_id"],
        postgresql_include=["created_at", "id"],
        postgresql_where=sa.text("is_latest is true and deleted_at is null"),
    )
    for name in ("without_fiche", "with_error", "facts_of_fiche", "facts"):
        op.drop_index(f"ix_audits_{name}", "audits")
