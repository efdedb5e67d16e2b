"""An import brings everything once, whatever happens to it on the way."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from old_database import SCRYPT, OldDatabase
from pydantic import SecretStr
from sqlalchemy import func, select

from audit_rows import audit as an_audit
from audit_rows import configured
from audit_rows import fiche as a_fiche
from conforme.accounts.models import Role, RolePermission, Team, TeamGroupe, User, UserRole, UserTeam
from conforme.accounts.passwords import check as password_check
from conforme.audit_configs.models import AuditConfig, AuditConfigRevision, AuditStep
from conforme.audits.models import AuditRow, CitationRow, VerdictRow
from conforme.automation.models import AutomationRun, AutomationRunFiche, AutomationSchedule
from conforme.fiches.models import SECTION_TABLES, FicheCache
from conforme.foundation.database import Database
from conforme.legacy.errors import AnotherOriginal, ImportOverlaps
from conforme.legacy.importing import Step, Wish, kinds_named, run
from conforme.legacy.models import LegacyId, LegacyQuarantine
from conforme.legacy.report import Report
from conforme.legacy.source import opened
from conforme.recordings.models import Recording

Import = Callable[..., Awaitable[Report]]
TABLES = (User, AuditConfig, AuditStep, FicheCache, Recording, AuditRow, CitationRow, VerdictRow, LegacyId)


class Killed(Exception):
    """The process is gone."""


async def rows(database: Database, *columns: Any) -> list[tuple[Any, ...]]:
    async with database.read() as session:
        return [tuple(row) for row in await session.execute(select(*columns).order_by(columns[0]))]


async def counts(database: Database) -> dict[str, int]:
    async with database.read() as session:
        return {
            table.__tablename__: await session.scalar(select(func.count()).select_from(table)) or 0
            for table in TABLES
        }


def a_house(old: OldDatabase, audits: int = 5) -> None:
    """People, a configuration, fiches, calls and audits of them."""
    old.person("ines@example.test")
    config = old.config()
    for number in range(audits):
        fiche = old.detailed_fiche(str(900_100 + number))
        old.call(fiche)
        old.judged(fiche, config, trigger_user_id="1")


async def test_all_of_it_comes_and_a_second_import_brings_nothing_more(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old)
    first = await bring()
    before = await counts(database)
    second = await bring()
    assert first.clean
    assert {name: each.imported for name, each in first.kinds.items()} == {
        "roles": 0,
        "teams": 0,
        "users": 1,
        "configs": 1,
        "fiches": 5,
        "recordings": 5,
        "schedules": 0,
        "runs": 0,
        "audits": 5,
    }
    assert sum(each.imported for each in second.kinds.values()) == 0
    assert second.kinds["audits"].known == 5
    assert await counts(database) == before


async def test_what_is_new_comes_with_the_next_import(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old, 2)
    await bring()
    fiche = old.detailed_fiche("900900")
    old.judged(fiche, 1)
    report = await bring()
    assert (report.kinds["fiches"].imported, report.kinds["audits"].imported) == (1, 1)
    assert (await counts(database))["audits"] == 3


async def test_a_killed_import_goes_on_where_it_was_and_ends_as_if_it_had_not_been(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old)
    seen: list[Step] = []

    def kill(step: Step) -> None:
        seen.append(step)
        if step.kind == "audits" and step.done == 2:
            raise Killed

    with pytest.raises(Killed):
        await bring(Wish(batch=2), kill)
    assert (await counts(database))["audits"] == 2
    report = await bring(Wish(batch=2))
    assert report.kinds["audits"].imported == 3
    assert await rows(database, AuditRow.id, AuditRow.fiche_id) == [
        (number, str(900_099 + number)) for number in range(1, 6)
    ]
    assert (await counts(database))["audit_step_result_citations"] == 10


async def test_a_batch_that_is_cut_off_inside_leaves_nothing(
    old: OldDatabase, database: Database, bring: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_house(old, 3)

    async def gone(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("conforme.legacy.target.keep", gone)
        with pytest.raises(Killed):
            await bring(Wish(kinds_named(["configs"])))
    assert (await counts(database))["audit_configs"] == 0
    assert (await bring()).kinds["audits"].imported == 3


async def test_a_dry_run_says_what_would_come_and_writes_nothing(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old, 3)
    old.person("no address")
    before = await counts(database)
    report = await bring(Wish(dry_run=True))
    assert (report.kinds["users"].imported, report.kinds["users"].quarantined) == (1, 1)
    assert report.kinds["audits"].imported == 3
    assert await counts(database) == before
    assert await rows(database, LegacyQuarantine.legacy_id) == []
    assert await rows(database, Role.id) == []


async def test_only_the_kinds_asked_for_come(old: OldDatabase, database: Database, bring: Import) -> None:
    a_house(old, 1)
    report = await bring(Wish(kinds_named(["configs", "users"])))
    assert set(report.kinds) == {"users", "configs"}
    assert (await counts(database))["fiche_cache"] == 0


async def test_rows_that_cannot_be_read_are_set_aside_with_their_reason_and_come_once_they_can(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old, 1)
    bad = old.judged(1, 1)
    assert bad == 2
    old.run("update audit_step_result_control_points set statut = 'PEUT-ETRE' where audit_id = 2")
    old.run("update users set created_at = 'infinity' where id = 1")
    report = await bring()
    assert not report.clean
    assert [(each.table, each.id, each.reason) for each in report.lines] == [
        ("users", 1, "created_at: is no time"),
        (
            "audits",
            bad,
            "audit_step_result_control_points 1.1: statut: is not one of ABSENT, NON_APPLICABLE, PARTIEL, PRESENT",
        ),
    ]
    assert report.kinds["audits"].imported == 1
    old.run("update audit_step_result_control_points set statut = 'PRESENT'")
    old.run("update users set created_at = now()")
    mended = await bring()
    assert mended.clean
    assert (mended.kinds["audits"].imported, mended.kinds["users"].imported) == (1, 1)
    assert await rows(database, LegacyQuarantine.legacy_id) == []


async def test_what_the_database_refuses_is_set_aside_alone(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    old.person("ines@example.test", crm_user_id="211")
    old.person("luc@example.test", crm_user_id=" 211")
    old.person("guy@example.test")
    report = await bring()
    assert [(each.id, each.reason) for each in report.lines] == [
        (2, "the database refuses it: uq_users_crm_user_id (23505)")
    ]
    assert await rows(database, User.id, User.email) == [(1, "ines@example.test"), (3, "guy@example.test")]


async def test_what_hangs_on_a_row_that_did_not_come_is_set_aside_too(
    old: OldDatabase, bring: Import
) -> None:
    a_house(old, 1)
    old.run("update audit_configs set name = repeat('x', 400)")
    report = await bring()
    assert [(each.table, each.id, each.reason) for each in report.lines] == [
        ("audit_configs", 1, "out of the bounds of a configuration: name"),
        ("audits", 1, "audit_config_id: configuration 1 did not come"),
    ]


async def test_numbers_stay_where_they_are_free_and_are_told_where_they_are_not(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    async with database.write() as session:
        session.add(User(email="here@example.test"))
        session.add(AuditConfig(name="D'ici"))
    a_house(old, 1)
    old.person("luc@example.test")
    report = await bring()
    assert report.kinds["users"].renumbered == report.kinds["configs"].renumbered == 1
    people = await rows(database, User.id, User.email)
    assert people == [(1, "here@example.test"), (2, "luc@example.test"), (3, "ines@example.test")]
    ((audit, asked_by, config),) = await rows(
        database, AuditRow.id, AuditRow.trigger_user_id, AuditRow.audit_config_id
    )
    assert (audit, asked_by, config) == (1, "3", 2)
    async with database.write() as session:
        session.add(newcomer := User(email="new@example.test"))
        await session.flush()
        assert newcomer.id == 4


@pytest.mark.parametrize("only", [1, 77])
async def test_what_is_made_here_after_an_import_of_one_row_each_gets_a_number_of_its_own(
    old: OldDatabase, database: Database, bring: Import, only: int
) -> None:
    """A sequence that has given nothing yet stands at 1 like one that has given 1."""
    person, config = old.person("ines@example.test", id=only), old.config(id=only)
    fiche = old.fiche("900100", id=only)
    old.call(fiche, id=only)
    old.audit(fiche, config, id=only, trigger_user_id=str(person))
    assert (await bring()).clean
    imported = (User, AuditConfig, FicheCache, Recording, AuditRow)
    assert [await rows(database, table.id) for table in imported] == [[(only,)]] * len(imported)
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await a_fiche(session, "900001")
        session.add(newcomer := User(email="new@example.test"))
        session.add(call := Recording(fiche_cache_id=cache_id, call_id="here-1"))
        audit_id = await an_audit(session, pinned, 1, fiche_cache_id=cache_id)
        await session.flush()
    assert (newcomer.id, pinned.config_id, cache_id, call.id, audit_id) == (only + 1,) * 5


async def test_people_come_with_their_password_their_roles_and_their_teams(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    permission = old.put("permissions", key="audits")
    strange = old.put("permissions", key="weather")
    role = old.put("roles", key="controle", name="Contrôle")
    old.put("role_permissions", role_id=role, permission_id=permission, can_read=True, scope="GROUP")
    old.put("role_permissions", role_id=role, permission_id=strange, can_read=True, scope="ALL")
    team = old.put("teams", crm_group_id="51", name="EQUIPE R1")
    user = old.person("Ines@Example.test", crm_user_id="211")
    old.put("user_roles", user_id=user, role_id=role)
    old.put("user_teams", user_id=user, team_id=team)
    old.put("refresh_tokens", user_id=user, token_hash="x", expires_at="2027-01-01")
    report = await bring()
    ((email, stored),) = await rows(database, User.email, User.password_hash)
    assert (email, stored) == ("ines@example.test", SCRYPT)
    assert password_check("change-me-123", stored).right
    assert await rows(database, UserRole.user_id) == await rows(database, UserTeam.user_id) == [(1,)]
    granted = select(RolePermission.can_read, RolePermission.can_write, RolePermission.scope)
    async with database.read() as session:
        found = await session.execute(granted.join(Role).where(Role.key == "controle"))
        assert [tuple(row) for row in found] == [(True, False, "GROUP")]
    assert await rows(database, Team.name) == await rows(database, TeamGroupe.groupe) == [("EQUIPE R1",)]
    assert report.notes["Grants of permissions that do not exist here were left out"] == 1
    assert report.left["refresh_tokens"] == "1 rows (everybody signs in anew)"


async def test_nobody_who_is_here_already_gains_or_loses_anything(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    admin = old.put("roles", key="admin", name="Admin")
    user = old.person("here@example.test")
    old.put("user_roles", user_id=user, role_id=admin)
    async with database.write() as session:
        session.add(User(email="here@example.test", status="DISABLED"))
    report = await bring()
    assert report.kinds["users"].already_here == 1
    assert await rows(database, User.id, User.status, User.password_hash) == [(1, "DISABLED", None)]
    assert await rows(database, UserRole.user_id) == []


async def test_two_spellings_of_one_address_do_not_make_one_person(old: OldDatabase, bring: Import) -> None:
    old.person("ines@example.test")
    old.person("INES@example.test")
    report = await bring(Wish(batch=1))
    assert [(each.id, each.reason) for each in report.lines] == [
        (2, "email: another person of the original has it, written differently")
    ]


async def test_schedules_come_inactive_with_their_runs_and_without_their_keys(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    config = old.config()
    schedule = old.put(
        "automation_schedules",
        name="Nuit",
        schedule_type="DAILY",
        time_of_day="02:00",
        external_api_key="secret",
        specific_audit_configs=[config, 999],
    )
    run = old.put(
        "automation_runs",
        schedule_id=schedule,
        status="partial",
        total_fiches=9,
        config_snapshot={"name": "Nuit"},
    )
    for fiche_id, status in (("900101", "failed"), ("900102", "successful"), ("900103", "ignored")):
        old.put("automation_run_fiche_results", run_id=run, fiche_id=fiche_id, status=status)
    old.judged(old.fiche("900101"), config, automation_schedule_id=schedule, automation_run_id=run)
    report = await bring()
    assert report.lines == []
    async with database.read() as session:
        [kept] = await session.scalars(select(AutomationSchedule))
        [ran] = await session.scalars(select(AutomationRun))
        outcomes = dict(
            (await session.execute(select(AutomationRunFiche.fiche_id, AutomationRunFiche.outcome))).all()
        )
        [audit] = await session.scalars(select(AuditRow))
    assert (kept.is_active, kept.next_due_at, kept.external_api_key) == (False, None, None)
    assert (kept.cron_expression, kept.specific_audit_configs, kept.scope) == ("0 2 * * *", [config], "ALL")
    assert outcomes == {"900101": "failed", "900102": "successful", "900103": "ignored"}
    assert (ran.total_fiches, ran.successful_fiches, ran.failed_fiches, ran.ignored_fiches) == (2, 1, 1, 1)
    assert (ran.schedule_id, ran.status, ran.config_snapshot["imported"]) == (
        kept.id,
        "partial",
        {"name": "Nuit"},
    )
    assert (audit.automation_schedule_id, audit.automation_run_id) == (kept.id, ran.id)
    assert any(note.startswith("Schedules came inactive") for note in report.notes)
    assert report.notes["Configurations that schedules name did not come, and were left out"] == 1


async def test_a_schedule_that_cannot_be_is_set_aside_with_its_runs_until_it_can(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    schedule = old.put("automation_schedules", name="Nuit", schedule_type="DAILY")
    run = old.put("automation_runs", schedule_id=schedule, status="completed", config_snapshot={})
    report = await bring()
    assert [(each.table, each.id, each.reason) for each in report.lines] == [
        ("automation_schedules", schedule, "timeOfDay: DAILY schedule requires timeOfDay"),
        ("automation_runs", run, f"schedule_id: schedule {schedule} did not come"),
    ]
    old.run("update automation_schedules set time_of_day = '02:00'")
    assert (await bring()).lines == []
    async with database.read() as session:
        assert await session.scalar(select(AutomationRun.status)) == "completed"


async def test_steps_that_were_counted_from_zero_are_counted_from_one(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    old.config(first=0, steps=3)
    report = await bring()
    assert await rows(database, AuditStep.position, AuditStep.name) == [
        (1, "Étape 0"),
        (2, "Étape 1"),
        (3, "Étape 2"),
    ]
    assert await rows(database, AuditConfig.compliant_from, AuditConfig.name) == [
        ("INSUFFISANT", "Vente santé")
    ]
    assert report.notes["Configurations whose steps were not counted from 1 are now"] == 1
    assert await rows(database, AuditConfigRevision.id) == []


async def test_sections_of_a_fiche_come_with_all_that_is_below_them(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    old.detailed_fiche("900101")
    old.detailed_fiche("900102")
    await bring()
    details = SECTION_TABLES["fiche_cache_tarification_formule_details"].c
    assert await rows(database, details.detail_key, details.detail_value) == [("Assuré", "41,10")] * 2
    information = SECTION_TABLES["fiche_cache_information"].c
    assert await rows(
        database, information.fiche_cache_id, information.nombre_acces, information.modules
    ) == [
        (1, 12, ["Santé"]),
        (2, 12, ["Santé"]),
    ]
    assert await rows(database, FicheCache.fiche_id, FicheCache.attribution_user_id) == [
        ("900101", "211"),
        ("900102", "211"),
    ]


async def test_an_import_that_was_overtaken_stops_and_writes_nothing_more(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old)
    ours = psycopg.connect(database.url.replace("+psycopg", ""), autocommit=True)

    def overtake(step: Step) -> None:
        if step.kind == "audits" and step.done == 1:
            ours.execute("update legacy_imports set cursor = 2 where kind = 'audits'")

    with pytest.raises(ImportOverlaps):
        await bring(Wish(batch=1), overtake)
    ours.close()
    assert (await counts(database))["audits"] == 1


async def test_two_imports_at_once_double_nothing(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old, 3)

    async def one_more() -> Report:
        async with opened(SecretStr(old.url)) as other:
            return await run(database, other, Wish(batch=1), lambda _: None)

    ended = await asyncio.gather(one_more(), one_more(), return_exceptions=True)
    assert {type(each) for each in ended} <= {Report, ImportOverlaps}
    await bring()
    assert (await counts(database))["audits"] == (await counts(database))["fiche_cache"] == 3


async def test_an_audit_whose_rules_no_revision_can_hold_is_set_aside_alone(
    old: OldDatabase, database: Database, bring: Import
) -> None:
    a_house(old, 2)
    old.run(
        "update audit_step_results set step_name = repeat('x', 301) where audit_id = 1 and step_position = 1"
    )
    report = await bring()
    assert [(each.id, each.reason) for each in report.lines] == [
        (1, "out of the bounds of a configuration: steps.0.name")
    ]
    assert await rows(database, AuditRow.id) == [(2,)]


async def test_another_original_is_refused(old: OldDatabase, bring: Import) -> None:
    a_house(old, 1)
    await bring()
    old.empty()
    old.fiche("111111")
    with pytest.raises(AnotherOriginal):
        await bring()
