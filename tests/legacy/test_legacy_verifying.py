"""A verification accounts for every row, and notices what is not as it was."""

from collections.abc import Awaitable, Callable

from old_database import OldDatabase
from sqlalchemy import delete, update

from conforme.accounts.models import User
from conforme.audits.models import AuditRow, ControlPointRow
from conforme.foundation.database import Database
from conforme.legacy.report import Report
from conforme.recordings.models import Recording

Import = Callable[..., Awaitable[Report]]


def a_house(old: OldDatabase) -> None:
    """One of each kind."""
    old.put("roles", key="controle", name="Contrôle")
    old.put("teams", crm_group_id="51", name="EQUIPE R1")
    old.person("ines@example.test", crm_user_id="211", last_login_at="2026-01-05 08:00:00")
    schedule = old.put(
        "automation_schedules",
        name="Nuit",
        schedule_type="DAILY",
        time_of_day="02:00",
        external_api_key="secret",
    )
    old.put("automation_runs", schedule_id=schedule, status="completed", config_snapshot={"steps": [1, 2.5]})
    fiche = old.detailed_fiche("900101")
    old.call(fiche, transcription_language_probability=0.97)
    old.judged(fiche, old.config(first=0), result_data={"audit": {"compliance": {"poids_obtenu": 8}}})


async def test_what_has_just_been_imported_is_as_it_was(
    old: OldDatabase, bring: Import, check: Import
) -> None:
    a_house(old)
    await bring()
    report = await check()
    assert report.lines == []
    assert {
        name: (each.source, each.known, each.sampled) for name, each in report.kinds.items()
    } == dict.fromkeys(report.kinds, (1, 1, 1))
    assert len(report.kinds) == 9


async def test_rows_that_were_changed_there_or_here_are_named(
    old: OldDatabase, bring: Import, check: Import, database: Database
) -> None:
    a_house(old)
    await bring()
    old.run("update audit_steps set prompt = 'Autre chose'")
    async with database.write() as session:
        await session.execute(update(AuditRow).values(score_percentage=12))
        await session.execute(update(ControlPointRow).where(ControlPointRow.id == 1).values(statut="ABSENT"))
        await session.execute(update(Recording).values(transcription_text="Rien"))
        await session.execute(delete(User))
    report = await check()
    assert not report.clean
    assert [(each.table, each.reason) for each in report.lines] == [
        ("users", "it was imported, and is not here any more"),
        ("audit_configs", "it was changed in the original since it was imported"),
        ("recordings", "differs here: transcription_text"),
        ("audits", "differs here: score_percentage, statuts"),
    ]


async def test_rows_that_have_not_come_are_counted(old: OldDatabase, bring: Import, check: Import) -> None:
    a_house(old)
    await bring()
    old.fiche("900102")
    old.person("no address")
    await bring()
    old.fiche("900103")
    old.run("delete from recordings")
    report = await check()
    assert report.notes["Rows of fiche_cache that have not come yet: import again"] == 1
    assert report.kinds["users"].quarantined == 1
    assert [(each.table, each.reason) for each in report.lines] == [
        ("recordings", "the original does not have it any more")
    ]
