"""Roles, teams and people of the original as ours (spec/http-auth §3.1, realtime §7). Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from conforme.accounts.actor import Scope
from conforme.accounts.admin_schemas import Email
from conforme.accounts.grants import KEYS
from conforme.accounts.models import ACTIVE, DISABLED, INVITED
from conforme.accounts.passwords import scrypt_of
from conforme.accounts.queries import RoleGrant
from conforme.accounts.roles import merged
from conforme.legacy.errors import BadRow
from conforme.legacy.source import Bundle
from conforme.legacy.values import LONG_AGO, Row, choice, filled, flag, known, moment, text

_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_ROLE_KEY: Final = re.compile(r"[a-z0-9._:-]{1,80}")
STATUSES: Final = (ACTIVE, DISABLED, INVITED)


def stamps(row: Row) -> dict[str, datetime]:
    """`created_at` and `updated_at`; what the original does not tell is long ago."""
    created = moment(row, "created_at") or LONG_AGO
    return {"created_at": created, "updated_at": moment(row, "updated_at") or created}


@dataclass(frozen=True, slots=True)
class OldRole:
    columns: dict[str, Any]
    grants: tuple[RoleGrant, ...]
    unknown: int
    """Grants of keys that do not exist here."""


def role(bundle: Bundle) -> OldRole:
    """A role with what it grants."""
    row = bundle.row
    key = filled(row, "key").lower()
    if not _ROLE_KEY.fullmatch(key):
        raise BadRow("key: holds more than letters, digits and . _ : -")
    keys = {permission["id"]: str(permission["key"]) for permission in bundle.of("permissions")}
    grants = [_grant(each, keys) for each in bundle.of("role_permissions")]
    columns = {
        "key": key,
        "name": filled(row, "name")[:200],
        "description": text(row, "description"),
        **stamps(row),
    }
    usable = [grant for grant in grants if grant.key in KEYS and (grant.read or grant.write)]
    return OldRole(columns, merged(usable), sum(grant.key not in KEYS for grant in grants))


def _grant(row: Row, keys: dict[Any, str]) -> RoleGrant:
    return RoleGrant(
        keys.get(row.get("permission_id"), ""),
        read=flag(row, "can_read", default=False),
        write=flag(row, "can_write", default=False),
        scope=Scope(choice(row, "scope", list(Scope), default=Scope.SELF.value)),
    )


def team(bundle: Bundle) -> dict[str, Any]:
    """A team; what it sees goes by its name, as it did there."""
    row = bundle.row
    heads = {name: text(row, name) for name in ("responsable_1", "responsable_2", "responsable_3")}
    return {
        "crm_group_id": filled(row, "crm_group_id"),
        "name": filled(row, "name"),
        **heads,
        **stamps(row),
    }


@dataclass(frozen=True, slots=True)
class OldUser:
    columns: dict[str, Any]
    role_ids: tuple[int, ...]
    team_ids: tuple[int, ...]
    unusable_password: bool
    """A hash that nobody can sign in with here."""


def user(bundle: Bundle) -> OldUser:
    """A person; the password's hash is taken over as it is, and is good for one more sign-in before it is renewed."""
    row = bundle.row
    stored = text(row, "password_hash")
    usable = stored is not None and scrypt_of(stored) is not None
    columns = {
        "email": _email(row),
        "password_hash": stored if usable else None,
        "status": choice(row, "status", STATUSES, default=ACTIVE),
        "crm_user_id": (text(row, "crm_user_id") or "").strip() or None,
        "last_login_at": moment(row, "last_login_at"),
        **stamps(row),
    }
    return OldUser(
        columns,
        _ids(bundle.of("user_roles"), "role_id"),
        _ids(bundle.of("user_teams"), "team_id"),
        unusable_password=stored is not None and not usable,
    )


def _ids(rows: Iterable[Row], name: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(known(row, name) for row in rows))


def _email(row: Row) -> str:
    try:
        return _EMAIL.validate_python(filled(row, "email"))
    except ValidationError:
        raise BadRow("email: is no address that can sign in") from None
