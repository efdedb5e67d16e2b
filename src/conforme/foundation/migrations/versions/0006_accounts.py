"""Accounts: people, roles, teams, sessions, API tokens, and the log of what was changed and refused."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    "audit_log",
    "attempts",
    "api_tokens",
    "user_invite_tokens",
    "refresh_tokens",
    "sessions",
    "user_teams",
    "team_groupes",
    "teams",
    "role_permissions",
    "user_roles",
    "permissions",
    "roles",
    "users",
)

REFUSE_CHANGES = """
create function refuse_to_change_audit_log() returns trigger language plpgsql as $$
begin
    raise exception 'audit_log is append-only' using errcode = 'insufficient_privilege';
end
$$
"""


def upgrade() -> None:
    _people()
    _teams()
    _sessions()
    _machines()
    _audit_log()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.execute("drop function refuse_to_change_audit_log()")


def _people() -> None:
    op.create_table(
        "users",
        _id(),
        _text("email"),
        _text("password_hash", nullable=True),
        _text("status", server_default="ACTIVE"),
        _text("crm_user_id", nullable=True),
        _moment("last_login_at", nullable=True),
        _created(),
        _updated(),
        sa.CheckConstraint("status in ('ACTIVE', 'DISABLED', 'INVITED')", name="status"),
        sa.UniqueConstraint("email"),
        sa.UniqueConstraint("crm_user_id"),
    )
    _index("users", "status created_at")
    op.create_table(
        "roles",
        _id(),
        _text("key"),
        _text("name"),
        _text("description", nullable=True),
        _created(),
        _updated(),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "permissions",
        _id(),
        _text("key"),
        _text("description", nullable=True),
        _created(),
        _updated(),
        sa.UniqueConstraint("key"),
    )
    op.create_table("user_roles", _part("user_id", "users"), _part("role_id", "roles"))
    _index("user_roles", "role_id")
    op.create_table(
        "role_permissions",
        _part("role_id", "roles"),
        _part("permission_id", "permissions"),
        sa.Column("can_read", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("can_write", sa.Boolean(), server_default="false", nullable=False),
        _text("scope", server_default="SELF"),
        sa.CheckConstraint("scope in ('SELF', 'GROUP', 'ALL')", name="scope"),
    )
    _index("role_permissions", "permission_id")


def _teams() -> None:
    op.create_table(
        "teams",
        _id(),
        _text("crm_group_id"),
        _text("name"),
        *(_text(f"responsable_{rank}", nullable=True) for rank in (1, 2, 3)),
        _created(),
        _updated(),
        sa.UniqueConstraint("crm_group_id"),
    )
    op.create_table(
        "team_groupes",
        _part("team_id", "teams"),
        sa.Column("groupe", sa.Text(), primary_key=True),
    )
    _index("team_groupes", "groupe")
    op.create_table("user_teams", _part("user_id", "users"), _part("team_id", "teams"))
    _index("user_teams", "team_id")


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", UUID(), server_default=sa.text("gen_random_uuid()"), primary_key=True),
        _key("user_id", "users"),
        _moment("expires_at"),
        _moment("ended_at", nullable=True),
        _text("ended_because", nullable=True),
        _text("created_by_ip", nullable=True),
        _text("user_agent", nullable=True),
        _created(),
    )
    _index("sessions", "user_id expires_at")
    op.create_table(
        "refresh_tokens",
        _id(),
        _key("user_id", "users"),
        sa.Column("session_id", UUID(), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        _text("token_hash"),
        _moment("revoked_at", nullable=True),
        _key("replaced_by_id", "refresh_tokens", nullable=True, ondelete="SET NULL"),
        _text("created_by_ip", nullable=True),
        _text("user_agent", nullable=True),
        _moment("expires_at"),
        _created(),
        sa.UniqueConstraint("token_hash"),
    )
    _index("refresh_tokens", "user_id session_id replaced_by_id expires_at revoked_at")
    op.create_table(
        "user_invite_tokens",
        _id(),
        _key("user_id", "users"),
        _text("token_hash"),
        _moment("expires_at"),
        _moment("used_at", nullable=True),
        _created(),
        sa.UniqueConstraint("token_hash"),
    )
    _index("user_invite_tokens", "user_id expires_at used_at")


def _machines() -> None:
    op.create_table(
        "api_tokens",
        _id(),
        _text("name"),
        _text("hint"),
        _text("token_hash"),
        _text("made_by"),
        _key("owner_id", "users", nullable=True),
        sa.Column("grants", JSONB(), nullable=False),
        sa.Column("groupes", ARRAY(sa.Text()), server_default="{}", nullable=False),
        _text("crm_user_id", nullable=True),
        _moment("expires_at", nullable=True),
        _moment("last_used_at", nullable=True),
        _moment("revoked_at", nullable=True),
        _created(),
        sa.UniqueConstraint("token_hash"),
    )
    _index("api_tokens", "owner_id")
    op.create_table(
        "attempts",
        sa.Column("key", sa.Text(), primary_key=True),
        _moment("window_ends"),
        sa.Column("count", sa.BigInteger(), nullable=False),
    )
    _index("attempts", "window_ends")


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        _moment("at"),
        _text("actor"),
        _text("action"),
        _text("target"),
        sa.Column("details", JSONB(), server_default="{}", nullable=False),
        _text("request_id", nullable=True),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
    )
    _index("audit_log", "action")
    op.execute(REFUSE_CHANGES)
    op.execute(
        "create trigger audit_log_is_append_only before update or delete or truncate on audit_log"
        " for each statement execute function refuse_to_change_audit_log()"
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), primary_key=True)


def _text(name: str, *, nullable: bool = False, server_default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, server_default=server_default)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _created() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _updated() -> sa.Column[object]:
    return sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _key(name: str, table: str, *, nullable: bool = False, ondelete: str = "CASCADE") -> sa.Column[int]:
    return sa.Column(
        name, sa.BigInteger(), sa.ForeignKey(f"{table}.id", ondelete=ondelete), nullable=nullable
    )


def _part(name: str, table: str) -> sa.Column[int]:
    """One column of a composite primary key that points at another table."""
    return sa.Column(
        name, sa.BigInteger(), sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), primary_key=True
    )


def _index(table: str, columns: str) -> None:
    for column in columns.split():
        op.create_index(f"ix_{table}_{column}", table, [column])
