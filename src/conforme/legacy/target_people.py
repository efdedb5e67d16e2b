"""Roles, teams and people into our tables. Who is here already stays as they are: nobody gains rights by an import."""

from collections.abc import Sequence

from sqlalchemy import select

from conforme.accounts import audit_log, queries, roles
from conforme.accounts.models import Role, Team, TeamGroupe, User, UserRole, UserTeam
from conforme.foundation.database import WriteSession
from conforme.foundation.rows import write_rows
from conforme.legacy import layout, mapping_people, target
from conforme.legacy.layout import Kind
from conforme.legacy.mapping_people import OldRole, OldUser
from conforme.legacy.models import LegacyId
from conforme.legacy.source import Bundle
from conforme.legacy.target import IMPORTER, Brought, Mapped, Written


class Roles:
    kind: Kind = layout.ROLES

    def read(self, bundle: Bundle) -> OldRole:
        return mapping_people.role(bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        """Roles with a key that is known here keep what they grant here."""
        outcome = Written()
        keys = [row.value.columns["key"] for row in rows]
        here = dict((await session.execute(select(Role.key, Role.id).where(Role.key.in_(keys)))).all())
        numbers = await target.numbered(session, Role, [row.id for row in rows])
        for row in rows:
            old: OldRole = row.value
            key = old.columns["key"]
            if key in here:
                await self._compare(session, here[key], old, outcome)
                outcome.brought.append(Brought(row.id, here[key], written=False))
                continue
            here[key] = numbers[row.id]
            await self._add(session, numbers[row.id], old, outcome)
            outcome.brought.append(Brought(row.id, numbers[row.id]))
        return outcome

    async def _compare(self, session: WriteSession, role_id: int, old: OldRole, outcome: Written) -> None:
        sheet = await queries.role(session, role_id)
        if sheet is not None and roles.told(sheet.grants) != roles.told(old.grants):
            outcome.notes[
                f"Role {old.columns['key']} grants something else here than it did; it stays so"
            ] += 1

    async def _add(self, session: WriteSession, role_id: int, old: OldRole, outcome: Written) -> None:
        await write_rows(session, target.rows(Role, [{"id": role_id, **old.columns}]))
        permissions = await queries.permission_ids(session, (grant.key for grant in old.grants))
        await roles.write_grants(session, role_id, old.grants, permissions)
        if old.unknown:
            outcome.notes["Grants of permissions that do not exist here were left out"] += old.unknown
        details = {"key": old.columns["key"], "grants": roles.told(old.grants)}
        await audit_log.record(session, IMPORTER, "role.created", f"role:{role_id}", **details)


class Teams:
    kind: Kind = layout.TEAMS

    def read(self, bundle: Bundle) -> dict[str, object]:
        return mapping_people.team(bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        """Teams of a CRM group that has one here stay as they are."""
        groups = [row.value["crm_group_id"] for row in rows]
        query = select(Team.crm_group_id, Team.id).where(Team.crm_group_id.in_(groups))
        here = dict((await session.execute(query)).all())
        fresh = [row for row in rows if row.value["crm_group_id"] not in here]
        numbers = await target.numbered(session, Team, [row.id for row in fresh])
        values = [{"id": numbers[row.id], **row.value} for row in fresh]
        seen = [{"team_id": value["id"], "groupe": value["name"]} for value in values]
        await write_rows(session, target.rows(Team, values), target.rows(TeamGroupe, seen))
        if values:
            ids = [value["id"] for value in values]
            await audit_log.record(session, IMPORTER, "teams.imported", "teams", ids=ids)
        kept = [
            Brought(row.id, here[row.value["crm_group_id"]], written=False)
            for row in rows
            if row not in fresh
        ]
        return Written(brought=[*kept, *(Brought(row.id, numbers[row.id]) for row in fresh)])


class Users:
    kind: Kind = layout.USERS

    def read(self, bundle: Bundle) -> OldUser:
        return mapping_people.user(bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        outcome = Written()
        fresh = await self._fresh(session, rows, outcome)
        numbers = await target.numbered(session, User, [row.id for row in fresh])
        await write_rows(
            session, target.rows(User, [{"id": numbers[row.id], **row.value.columns} for row in fresh])
        )
        await self._memberships(session, fresh, numbers, outcome)
        outcome.brought += [Brought(row.id, numbers[row.id]) for row in fresh]
        lost = sum(row.value.unusable_password for row in fresh)
        if lost:
            outcome.notes["Passwords stored in a way unknown here: those people must be invited again"] += (
                lost
            )
        if fresh:
            ids = [numbers[row.id] for row in fresh]
            await audit_log.record(session, IMPORTER, "users.imported", "users", ids=ids)
        return outcome

    async def _fresh(self, session: WriteSession, rows: Sequence[Mapped], outcome: Written) -> list[Mapped]:
        """Those nobody here is; whoever is here already is told of in `outcome`."""
        emails = [row.value.columns["email"] for row in rows]
        query = select(User.email, User.id).where(User.email.in_(emails))
        here = dict((await session.execute(query)).all())
        imported = await self._imported(session, list(here.values()))
        fresh: dict[str, Mapped] = {}
        for row in rows:
            email = row.value.columns["email"]
            if email in fresh or here.get(email) in imported:
                outcome.refused[row.id] = "email: another person of the original has it, written differently"
            elif email in here:
                outcome.brought.append(Brought(row.id, here[email], written=False))
                outcome.notes["People who have an account here already keep it, its roles and its teams"] += 1
            else:
                fresh[email] = row
        return list(fresh.values())

    async def _imported(self, session: WriteSession, ids: Sequence[int]) -> set[int]:
        query = select(LegacyId.id).where(
            LegacyId.kind == self.kind.name, LegacyId.id.in_(ids), LegacyId.written
        )
        return set(await session.scalars(query))

    async def _memberships(
        self, session: WriteSession, rows: Sequence[Mapped], numbers: dict[int, int], outcome: Written
    ) -> None:
        role_ids = await target.ids_here(
            session, layout.ROLES, [each for row in rows for each in row.value.role_ids]
        )
        team_ids = await target.ids_here(
            session, layout.TEAMS, [each for row in rows for each in row.value.team_ids]
        )
        held, members, lost = [], [], 0
        for row in rows:
            user = numbers[row.id]
            held += [
                {"user_id": user, "role_id": role_ids[each]}
                for each in row.value.role_ids
                if each in role_ids
            ]
            members += [
                {"user_id": user, "team_id": team_ids[each]}
                for each in row.value.team_ids
                if each in team_ids
            ]
            lost += sum(each not in role_ids for each in row.value.role_ids)
            lost += sum(each not in team_ids for each in row.value.team_ids)
        nothing = "on conflict do nothing"
        await write_rows(
            session, target.rows(UserRole, held, nothing), target.rows(UserTeam, members, nothing)
        )
        if lost:
            outcome.notes["Roles and teams that did not come were not given to their people"] += lost
