"""Who a credential belongs to and what they may do, read in one statement at each request.

Nothing is remembered between requests: a role, team, session or token that was changed counts at once.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine

from conforme.accounts.access_tokens import Claims
from conforme.accounts.actor import Caller, Person
from conforme.accounts.grants import Grants
from conforme.accounts.secrets import token_hash
from conforme.accounts.wire import grants_of_rows

_OF_USER = """
    (select coalesce(array_agg(role.key order by role.key), '{}')
       from user_roles held join roles role on role.id = held.role_id where held.user_id = u.id) as roles,
    (select coalesce(jsonb_agg(jsonb_build_object(
              'key', permission.key, 'read', can_read, 'write', can_write, 'scope', scope)), '[]')
       from user_roles held
       join role_permissions granted on granted.role_id = held.role_id
       join permissions permission on permission.id = granted.permission_id
      where held.user_id = u.id) as grants,
    (select coalesce(array_agg(team.name order by team.name), '{}')
       from user_teams member join teams team on team.id = member.team_id where member.user_id = u.id) as teams,
    (select coalesce(array_agg(distinct known.groupe), '{}')
       from user_teams member join team_groupes known on known.team_id = member.team_id
      where member.user_id = u.id) as groupes
"""

OF_SESSION = text(
    f"""
    select u.id, u.email, u.crm_user_id, {_OF_USER}
      from sessions s join users u on u.id = s.user_id
     where s.id = :session_id and u.id = :user_id and u.status = 'ACTIVE'
       and s.ended_at is null and s.expires_at > now()
    """  # noqa: S608 -- a text of our own
).bindparams(bindparam("session_id", type_=Uuid()))

OF_TOKEN = text(
    f"""
    with token as (
      select t.* from api_tokens t left join users owner on owner.id = t.owner_id
       where t.token_hash = :token_hash and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
         and (t.owner_id is null or owner.status = 'ACTIVE')
    ), noted as (
      update api_tokens set last_used_at = now()
       where id = (select id from token) and (last_used_at is null or last_used_at < now() - interval '1 minute')
    )
    select token.id as token_id, token.grants as allowed, token.owner_id, token.groupes as own_groupes,
           case when token.owner_id is null then token.crm_user_id else u.crm_user_id end as crm_user_id, {_OF_USER}
      from token left join users u on u.id = token.owner_id
    """  # noqa: S608 -- a text of our own
)


async def of_session(engine: AsyncEngine, claims: Claims) -> Caller | None:
    """The person of a session that is open, with an account that is active."""
    row = await _row(engine, OF_SESSION, session_id=claims.session_id, user_id=claims.user_id)
    if row is None:
        return None
    person = Person(
        id=row["id"],
        email=row["email"],
        roles=tuple(row["roles"]),
        crm_user_id=row["crm_user_id"],
        teams=tuple(row["teams"]),
        session_id=claims.session_id,
    )
    return Caller(
        name=f"user:{row['id']}",
        grants=grants_of_rows(row["grants"]),
        groupes=frozenset(row["groupes"]),
        crm_user_id=row["crm_user_id"],
        user_id=row["id"],
        person=person,
    )


async def of_token(engine: AsyncEngine, token: str) -> Caller | None:
    """The machine that holds an API token; one that a person made does no more than they may now."""
    row = await _row(engine, OF_TOKEN, token_hash=token_hash(token))
    if row is None:
        return None
    owned = row["owner_id"] is not None
    allowed = grants_of_rows(row["allowed"])
    grants: Grants = allowed.met(grants_of_rows(row["grants"])) if owned else allowed
    return Caller(
        name=f"api-token:{row['token_id']}",
        grants=grants,
        groupes=frozenset(row["groupes"] if owned else row["own_groupes"]),
        crm_user_id=row["crm_user_id"],
        user_id=row["owner_id"],
    )


async def _row(engine: AsyncEngine, statement: Any, **values: UUID | str | int) -> RowMapping | None:
    async with engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return (await plain.execute(statement, values)).mappings().one_or_none()
