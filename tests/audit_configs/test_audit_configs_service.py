import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings

from conforme.audit_configs import cli, drafts, queries, service
from conforme.audit_configs.drafts import latest_active
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.revisions import revision, revision_for_run
from conforme.audit_configs.rules import Rules
from conforme.audit_configs.service import Imported, slug
from conforme.audit_configs.shipped import COMPLETE, SHORT, ensure_shipped, seed, shipped
from conforme.foundation.database import Database
from conforme.foundation.errors import Conflict, Invalid, NotFound
from rubrics import any_rules, rules, step


async def imported(database: Database, some: Rules) -> Imported:
    async with database.write() as session:
        return await service.import_rules(session, some)


async def draft(database: Database, config_id: int) -> Rules:
    async with database.read() as session:
        return await service.draft(session, config_id)


async def names(database: Database) -> list[str]:
    async with database.read() as session:
        return [config.name for config in await queries.names(session)]


async def positions(database: Database, config_id: int) -> dict[str, int]:
    return {each.name: each.position for each in (await draft(database, config_id)).steps}


@settings(max_examples=40)
@given(some=any_rules())
async def test_a_draft_says_what_was_put_in(database: Database, some: Rules) -> None:
    unique = {each.position: each for each in some.steps}
    expected = some.model_copy(update={"steps": tuple(unique[position] for position in sorted(unique))})
    async with database.write() as session:
        config_id = (await service.create(session, expected)).id
    assert await draft(database, config_id) == expected


async def test_an_import_creates_then_updates_the_one_with_the_same_slug(database: Database) -> None:
    first = await imported(database, rules("Vente Santé", count=2))
    second = await imported(database, rules("vente sante", count=3))
    assert (first.created, second.created, second.changed) == (True, False, True)
    assert first.id == second.id
    assert await draft(database, first.id) == rules("vente sante", count=3)


async def test_importing_the_same_again_changes_nothing(database: Database) -> None:
    await imported(database, rules())
    again = await imported(database, rules())
    assert (again.created, again.changed) == (False, False)


async def test_an_import_leaves_past_revisions_alone(database: Database) -> None:
    config_id = (await imported(database, rules(count=2))).id
    async with database.write() as session:
        before = await revision_for_run(session, config_id)
    await imported(database, rules(count=4))
    async with database.read() as session:
        assert (await revision(session, before.id)).rules == rules(count=2)


async def test_what_could_not_run_is_not_imported(database: Database) -> None:
    with pytest.raises(InvalidConfiguration, match=r"steps\.0\.prompt: must not be blank"):
        await imported(database, rules(steps=[step(1, prompt=" ")]))
    assert await names(database) == []


async def test_imports_at_the_same_moment_create_one_configuration(database: Database) -> None:
    done = await asyncio.gather(*(imported(database, rules()) for _ in range(8)))
    assert len({one.id for one in done}) == 1
    assert sum(one.created for one in done) == 1


async def test_a_name_that_two_share_is_a_conflict_and_an_id_still_works(database: Database) -> None:
    async with database.write() as session:
        first = (await service.create(session, rules("Double"))).id
        await service.create(session, rules("double"))
    with pytest.raises(Conflict, match="Several audit configs"):
        await imported(database, rules("Double"))
    async with database.read() as session:
        assert await service.find(session, str(first)) == first


@pytest.mark.parametrize("word", ["Vente Santé courte", "vente-sante-courte", "VENTE SANTE COURTE"])
async def test_a_configuration_is_found_by_name_or_slug(database: Database, word: str) -> None:
    async with database.write() as session:
        await seed(session)
    async with database.read() as session:
        assert await service.draft(session, await service.find(session, word)) == shipped(SHORT)
        with pytest.raises(NotFound):
            await service.find(session, "inconnue")


def test_a_name_without_letters_is_its_own_slug() -> None:
    assert slug(" ☂ ") == "☂"
    assert slug("Été 2026 !") == "ete-2026"


async def test_reorder_swaps_positions_at_once(database: Database) -> None:
    config_id = (await imported(database, rules(count=3))).id
    async with database.read() as session:
        ids = [each.id for each in (await drafts.existing(session, config_id)).steps]
    async with database.write() as session:
        await service.reorder(session, config_id, [ids[2], ids[0], ids[1]])
    assert await positions(database, config_id) == {"Étape 3": 1, "Étape 1": 2, "Étape 2": 3}


async def test_reorders_at_the_same_moment_leave_positions_one_to_n(database: Database) -> None:
    config_id = (await imported(database, rules(count=5))).id
    async with database.read() as session:
        ids = [each.id for each in (await drafts.existing(session, config_id)).steps]

    async def turn(by: int) -> None:
        async with database.write() as session:
            await service.reorder(session, config_id, ids[by:] + ids[:by])

    await asyncio.gather(*(turn(by) for by in range(5)))
    assert sorted((await positions(database, config_id)).values()) == [1, 2, 3, 4, 5]


async def test_a_deleted_step_leaves_no_gap(database: Database) -> None:
    config_id = (await imported(database, rules(count=4))).id
    async with database.read() as session:
        second = (await drafts.existing(session, config_id)).steps[1].id
    async with database.write() as session:
        await service.remove_step(session, second)
    assert await positions(database, config_id) == {"Étape 1": 1, "Étape 3": 2, "Étape 4": 3}


async def test_a_taken_position_is_refused_with_the_free_one(database: Database) -> None:
    config_id = (await imported(database, rules(count=2))).id
    async with database.write() as session:
        with pytest.raises(Invalid, match=r"Position 2 is already taken\. Available positions: 3"):
            await service.add_step(session, config_id, step(2))


async def test_a_configuration_takes_no_more_steps_than_a_revision_can_hold(database: Database) -> None:
    config_id = (await imported(database, rules(count=100))).id
    async with database.write() as session:
        with pytest.raises(Invalid, match="at most 100 steps"):
            await service.add_step(session, config_id, step(101))


async def test_a_configuration_that_was_run_cannot_be_deleted(database: Database) -> None:
    config_id = (await imported(database, rules())).id
    async with database.write() as session:
        await revision_for_run(session, config_id)
    async with database.write() as session:
        with pytest.raises(Conflict, match="used by audits"):
            await service.remove(session, config_id)


async def test_one_that_was_never_run_is_deleted_with_its_steps(database: Database) -> None:
    config_id = (await imported(database, rules())).id
    async with database.write() as session:
        await service.remove(session, config_id)
    assert await names(database) == []


async def test_the_latest_active_is_the_newest_that_is_active(database: Database) -> None:
    async with database.read() as session:
        with pytest.raises(NotFound, match="No active audit configuration found"):
            await latest_active(session)
    old = (await imported(database, rules("Ancienne"))).id
    new = (await imported(database, rules("Nouvelle"))).id
    async with database.read() as session:
        assert (await latest_active(session)).id == new
    async with database.write() as session:
        await service.update(session, new, {"is_active": False})
    async with database.read() as session:
        assert (await latest_active(session)).id == old


async def test_seeding_fills_an_empty_database_once(database: Database) -> None:
    async def seeded() -> list[Imported]:
        async with database.write() as session:
            return await seed(session)

    done = await asyncio.gather(*(seeded() for _ in range(4)))
    assert sorted(len(one) for one in done) == [0, 0, 0, 2]
    async with database.read() as session:
        assert (await latest_active(session)).name == shipped(COMPLETE).name


async def test_seeding_respects_what_people_have_made_of_it(database: Database) -> None:
    await imported(database, rules("La nôtre"))
    async with database.write() as session:
        assert await seed(session) == []
    assert await names(database) == ["La nôtre"]


async def test_a_shipped_configuration_is_there_when_it_is_needed(database: Database) -> None:
    async with database.write() as session:
        first = await ensure_shipped(session, SHORT)
    async with database.write() as session:
        assert await ensure_shipped(session, SHORT) == first


async def test_the_commands_import_list_and_export_the_same_file(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "grille.yaml"
    file.write_text(
        "name: Maison\nsteps:\n  - {name: Accueil, prompt: Écoute., severity: LOW, control_points: [Bonjour]}\n"
    )
    async with database.write() as session:
        await cli.import_file(session, file)
        await revision_for_run(session, await service.find(session, "maison"))
    async with database.read() as session:
        (listed,) = await cli.listing(session)
        exported = await cli.export(session, "maison")
    assert (listed.name, listed.steps, listed.revisions, listed.is_active) == ("Maison", 1, 1, True)
    (tmp_path / "again.yml").write_text(exported)
    async with database.write() as session:
        assert not (await cli.import_file(session, tmp_path / "again.yml")).changed


@pytest.mark.parametrize("name", ["absent.yaml", "."])
async def test_an_unreadable_file_is_a_plain_refusal(database: Database, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.yaml").mkdir()
    async with database.write() as session:
        with pytest.raises(InvalidConfiguration, match="file: "):
            await cli.import_file(session, tmp_path / (name if name != "." else "folder.yaml"))
