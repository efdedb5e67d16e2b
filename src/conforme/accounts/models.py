"""The tables of accounts (spec/realtime §7), and what they need beyond it.

Beyond the contract: sessions (the family of a login's refresh tokens), every groupe a team was ever called by the CRM,
API tokens, counters of attempts, and the log of what was changed and refused.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Identified, Updated

ACTIVE, DISABLED, INVITED = "ACTIVE", "DISABLED", "INVITED"


def _key(target: str) -> ForeignKey:
    return ForeignKey(target, ondelete="CASCADE")


class User(Updated, Base):
    """A person with an account."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("status in ('ACTIVE', 'DISABLED', 'INVITED')", name="status"),
        Index(None, "status"),
        Index(None, "created_at"),
    )

    email: Mapped[str] = mapped_column(Text, unique=True)
    """Lower case."""
    password_hash: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=ACTIVE)
    crm_user_id: Mapped[str | None] = mapped_column(Text, unique=True)
    last_login_at: Mapped[datetime | None]


class Role(Updated, Base):
    __tablename__ = "roles"

    key: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)


class Permission(Updated, Base):
    __tablename__ = "permissions"

    key: Mapped[str] = mapped_column(Text, unique=True)
    description: Mapped[str | None] = mapped_column(Text)


class UserRole(Base):
    __tablename__ = "user_roles"

    user_id: Mapped[int] = mapped_column(_key("users.id"), primary_key=True)
    role_id: Mapped[int] = mapped_column(_key("roles.id"), primary_key=True, index=True)


class RolePermission(Base):
    """What a role grants of one key: one scope for reading and writing."""

    __tablename__ = "role_permissions"
    __table_args__ = (CheckConstraint("scope in ('SELF', 'GROUP', 'ALL')", name="scope"),)

    role_id: Mapped[int] = mapped_column(_key("roles.id"), primary_key=True)
    permission_id: Mapped[int] = mapped_column(_key("permissions.id"), primary_key=True, index=True)
    can_read: Mapped[bool] = mapped_column(Boolean, server_default="false")
    can_write: Mapped[bool] = mapped_column(Boolean, server_default="false")
    scope: Mapped[str] = mapped_column(Text, server_default="SELF")


class Team(Updated, Base):
    """A sales team of the CRM."""

    __tablename__ = "teams"

    crm_group_id: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    """What people call it here; data is never matched by it."""
    responsable_1: Mapped[str | None] = mapped_column(Text)
    responsable_2: Mapped[str | None] = mapped_column(Text)
    responsable_3: Mapped[str | None] = mapped_column(Text)


class TeamGroupe(Base):
    """What a fiche may say its groupe is when it is this team's.

    Names are added when the CRM tells them and never taken away: renaming a team hides nothing, and shows nothing.
    """

    __tablename__ = "team_groupes"

    team_id: Mapped[int] = mapped_column(_key("teams.id"), primary_key=True)
    groupe: Mapped[str] = mapped_column(Text, primary_key=True, index=True)


class UserTeam(Base):
    __tablename__ = "user_teams"

    user_id: Mapped[int] = mapped_column(_key("users.id"), primary_key=True)
    team_id: Mapped[int] = mapped_column(_key("teams.id"), primary_key=True, index=True)


class Session(Base):
    """One login and all refresh tokens that came of it."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=text("gen_random_uuid()"))
    user_id: Mapped[int] = mapped_column(_key("users.id"))
    expires_at: Mapped[datetime]
    """Its absolute end, however often it is refreshed."""
    ended_at: Mapped[datetime | None]
    ended_because: Mapped[str | None] = mapped_column(Text)
    """`logout`, `replay`, `password`, `disabled`, `everywhere`."""
    created_by_ip: Mapped[str | None] = mapped_column(Text)
    user_agent: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefreshToken(Identified, Base):
    """Stored hashed; each is good for one use."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index(None, "user_id"),
        Index(None, "session_id"),
        Index(None, "expires_at"),
        Index(None, "revoked_at"),
    )

    user_id: Mapped[int] = mapped_column(_key("users.id"))
    session_id: Mapped[UUID] = mapped_column(Uuid, _key("sessions.id"))
    token_hash: Mapped[str] = mapped_column(Text, unique=True)
    revoked_at: Mapped[datetime | None]
    replaced_by_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("refresh_tokens.id", ondelete="SET NULL"), index=True
    )
    created_by_ip: Mapped[str | None] = mapped_column(Text)
    user_agent: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime]


class InviteToken(Identified, Base):
    """Stored hashed; good for one use, and superseded by a newer one."""

    __tablename__ = "user_invite_tokens"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"), Index(None, "used_at"))

    user_id: Mapped[int] = mapped_column(_key("users.id"))
    token_hash: Mapped[str] = mapped_column(Text, unique=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiToken(Identified, Base):
    """A credential for a machine, stored hashed.

    One that a person made acts for that person and never does more than they may at that moment. One made by the house
    (with a token of the environment, or from the command line) stands alone, with its own `groupes` and `crm_user_id`.
    """

    __tablename__ = "api_tokens"

    name: Mapped[str] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text)
    """Its first characters, to tell tokens apart."""
    token_hash: Mapped[str] = mapped_column(Text, unique=True)
    made_by: Mapped[str] = mapped_column(Text)
    """Name of the actor."""
    owner_id: Mapped[int | None] = mapped_column(BigInteger, _key("users.id"), index=True)
    grants: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """`[{key, read, write, scope}]`, as roles state them."""
    groupes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    crm_user_id: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""
    revoked_at: Mapped[datetime | None]


class Attempt(Base):
    """How often something was tried within a window of time, by everybody and on all replicas."""

    __tablename__ = "attempts"
    __table_args__ = (Index(None, "window_ends"),)

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    """What is limited, hashed where it would name a person."""
    window_ends: Mapped[datetime]
    count: Mapped[int] = mapped_column(BigInteger)


class AuditLogRow(Base):
    """One thing that was changed or refused; the database refuses to change or delete it.

    `hash` is the SHA-256 of the row and of the hash before it.
    """

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Counts from 1 without gap: a missing row shows."""
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text, index=True)
    target: Mapped[str] = mapped_column(Text)
    """`user:12`, `role:3`, `GET /api/audits/9`."""
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    """Ids, keys and flags; no personal data."""
    request_id: Mapped[str | None] = mapped_column(Text)
    previous: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
