import asyncio

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from conforme.audit_configs import service
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.models import AuditConfigRevision
from conforme.audit_configs.revisions import Revision, revision, revision_for_run
from conforme.audit_configs.rules import Rules
from conforme.foundation.database import Database
from conforme.foundation.errors import Invalid, NotFound
from rubrics import rules, step


async def created(database: Database, some: Rules | None = None) -> int:
    async with database.write() as session:
        return (await service.create(session, some or rules())).id


async def run(database: Database, config_id: int) -> Revision:
    async with database.write() as session:
        return await revision_for_run(session, config_id)


async def test_the_draft_becomes_revision_one_when_first_run(database: Database) -> None:
    config_id = await created(database)
    first = await run(database, config_id)
    assert (first.config_id, first.number, first.rules) == (config_id, 1, rules())


async def test_the_same_content_serves_again(database: Database) -> None:
    config_id = await created(database)
    assert await run(database, config_id) == await run(database, config_id)


async def test_an_edited_draft_becomes_the_next_revision_and_the_old_one_stays(database: Database) -> None:
    config_id = await created(database)
    first = await run(database, config_id)
    async with database.write() as session:
        await service.update(session, config_id, {"system_prompt": "Autre consigne."})
    second = await run(database, config_id)
    assert second.number == 2
    assert second.rules.system_prompt == "Autre consigne."
    async with database.read() as session:
        assert await revision(session, first.id) == first


async def test_each_configuration_counts_its_own_revisions(database: Database) -> None:
    one, other = await created(database), await created(database, rules("Autre"))
    assert (await run(database, one)).number == (await run(database, other)).number == 1


async def test_callers_at_the_same_moment_get_one_revision(database: Database) -> None:
    config_id = await created(database)
    got = await asyncio.gather(*(run(database, config_id) for _ in range(12)))
    assert len({one.id for one in got}) == 1
    async with database.read() as session:
        assert len((await session.scalars(select(AuditConfigRevision))).all()) == 1


async def test_edits_and_runs_at_the_same_moment_never_mix_two_states(database: Database) -> None:
    config_id = await created(database, rules(count=3))
    states = [
        rules(count=3, description=f"état {n}", steps=[step(p, name=f"état {n}") for p in (1, 2, 3)])
        for n in range(6)
    ]

    async def edit(state: Rules) -> None:
        async with database.write() as session:
            await service.replace(session, config_id, state)

    edits = [edit(state) for state in states]
    runs = [run(database, config_id) for _ in range(12)]
    done = await asyncio.gather(*edits, *runs)
    seen = [one.rules for one in done if isinstance(one, Revision)]
    assert all(one in [rules(count=3), *states] for one in seen)


async def test_a_caller_that_rolls_back_leaves_no_revision(database: Database) -> None:
    config_id = await created(database)
    with pytest.raises(RuntimeError):
        await _run_and_fail(database, config_id)
    assert (await run(database, config_id)).number == 1


async def _run_and_fail(database: Database, config_id: int) -> None:
    async with database.write() as session:
        await revision_for_run(session, config_id)
        raise RuntimeError


@pytest.mark.parametrize(
    "change", [update(AuditConfigRevision).values(number=9), delete(AuditConfigRevision)]
)
async def test_a_revision_cannot_be_changed_nor_deleted(database: Database, change: object) -> None:
    await run(database, await created(database))
    with pytest.raises(DBAPIError, match="never changes"):
        await _execute(database, change)


async def _execute(database: Database, statement: object) -> None:
    async with database.write() as session:
        await session.execute(statement)  # pyright: ignore[reportCallIssue, reportArgumentType]


async def test_an_unknown_configuration_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound, match="Audit config with ID '404' not found"):
        await run(database, 404)


async def test_an_unknown_revision_is_not_found(database: Database) -> None:
    async with database.read() as session:
        with pytest.raises(NotFound):
            await revision(session, 404)


async def test_an_inactive_configuration_is_refused(database: Database) -> None:
    config_id = await created(database)
    async with database.write() as session:
        await service.update(session, config_id, {"is_active": False})
    with pytest.raises(Invalid, match="inactive"):
        await run(database, config_id)


async def test_an_empty_configuration_is_refused_with_its_problem(database: Database) -> None:
    config_id = await created(database, rules(count=0))
    with pytest.raises(InvalidConfiguration, match="steps: at least one step is needed"):
        await run(database, config_id)
