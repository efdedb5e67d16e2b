"""Grants as the wire shows and takes them (spec/http-auth §2.5, §4)."""

from collections.abc import Iterable, Mapping
from typing import Any

from conforme.accounts.grants import Grant, Grants, Scope


def grants_out(grants: Grants) -> list[dict[str, Any]]:
    """A caller's grants, sorted by key; where a flag is off its scope shows as SELF."""
    return [
        {
            "key": grant.key,
            "read": grant.read is not None,
            "write": grant.write is not None,
            "read_scope": grant.read or Scope.SELF,
            "write_scope": grant.write or Scope.SELF,
        }
        for grant in grants.by_key.values()
    ]


def grants_of_rows(rows: Iterable[Mapping[str, Any]]) -> Grants:
    """Grants as roles and API tokens state them: `{key, read, write, scope}`."""
    return Grants.of(
        Grant.of_role(row["key"], read=row["read"], write=row["write"], scope=Scope(row["scope"]))
        for row in rows
    )
