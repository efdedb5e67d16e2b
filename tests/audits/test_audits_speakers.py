"""Who speaks in a recording: said by rules, the model and people; what a person said stands, whoever speaks after."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, text

from audit_rows import audit, configured, fiche
from conforme.accounts.actor import Actor
from conforme.audits import casting, speakers, stages, workflows
from conforme.audits.queries import row
from conforme.audits.speakers import RecordingSpeaker
from conforme.foundation.database import Database
from conforme.foundation.durable import Child, Outcome, Priority, Retry
from conforme.foundation.llm import ModelReply, ModelRequest, ModelUnavailable, T, Usage
from conforme.foundation.resources import Resources
from conforme.recordings.models import Recording
from conforme.transcriptions.queries import transcribed
from conforme.transcriptions.words import Word, pack
from judged_audits import Opinion, resources_of

SAID = (
    ("speaker_0", "Bonsoir, il fait beau chez nous ce soir."),
    ("speaker_1", "Ici le soleil est resté caché toute la journée."),
) * 3
PATH = "/api/recordings/900001/c-1/speakers"


async def _nothing() -> None: ...


@dataclass
class Witness(Opinion):
    """A model that is asked who speaks: the first voice is the client, the second the advisor."""

    meanwhile: Callable[[], Awaitable[object]] = _nothing
    """What happens between its being asked and its answer."""

    async def ask(self, request: ModelRequest[T]) -> ModelReply[T]:
        self.prompts.append(request.prompt)
        await self.meanwhile()
        if self.error is not None:
            raise self.error
        said = {"speaker_0": "client", "speaker_1": "conseiller"}
        told = [{"locuteur": label, "role": role, "certitude": 95} for label, role in said.items()]
        reply = request.output.model_validate({"locuteurs": told})
        return ModelReply(reply, Usage(100, 0, 10), self.provider, self.name, 1, 1)


@dataclass(frozen=True)
class Scene:
    """A fiche with one call in which nobody gives their part away, and an audit of it."""

    resources: Resources
    model: Witness
    fiche_cache_id: int
    recording_id: int
    audit_id: int

    async def resolve(self) -> dict[str, Any]:
        """What an audit does before it freezes who speaks."""
        await self.heard()
        return await casting.ask(self.resources, self.audit_id, self.recording_id)

    async def heard(self) -> dict[str, str]:
        """Label → role, as an audit that began now would take them."""
        async with self.resources.database.write() as session:
            calls = await transcribed(session, Actor.system("test"), self.fiche_cache_id)
            voices = await casting.known(session, "900001", calls)
        return {label: each.role for label, each in voices.roles[self.recording_id].items()}


@pytest.fixture
async def scene(api: httpx2.AsyncClient, database: Database) -> Scene:
    model = Witness()
    words = tuple(
        Word(word, float(at), at + 0.5, label)
        for at, (label, text) in enumerate(SAID)
        for word in text.split()
    )
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await fiche(session, "900001")
        call = Recording(
            fiche_cache_id=cache_id, call_id="c-1", has_transcription=True, transcription_words=pack(words)
        )
        session.add(call)
        await session.flush()
        audit_id = await audit(session, pinned, 1, fiche_cache_id=cache_id)
        return Scene(resources_of(database, model), model, cache_id, call.id, audit_id)


async def _corrected(api: httpx2.AsyncClient, **roles: str) -> None:
    wished = [{"speaker": label, "role": role} for label, role in roles.items()]
    answer = await api.patch(PATH, json={"speakers": wished, "reason": "Entendu à l'écoute."})
    assert answer.status_code == 200, answer.text


async def test_what_rules_leave_open_the_model_says_once_for_every_later_audit(scene: Scene) -> None:
    assert await scene.resolve() == {"asked": 2}
    assert await scene.heard() == {"speaker_0": "client", "speaker_1": "advisor"}
    assert await scene.resolve() == {"asked": 0}
    assert len(scene.model.prompts) == 1


async def test_an_outage_leaves_it_open_and_the_next_audit_asks_again(scene: Scene) -> None:
    scene.model.error = ModelUnavailable("away")
    with pytest.raises(ModelUnavailable):
        await scene.resolve()
    scene.model.error = None
    assert await scene.resolve() == {"asked": 2}


class Walk:
    """What an audit's job is given: what it asks of it is kept, and no child of it succeeds."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.asked: list[Child] = []
        self.retry: Retry | None = None

    async def step(self, name: str, _fn: object, *, retry: Retry | None = None) -> dict[str, Any]:
        self.retry = retry
        return {
            "begin": {"priority": Priority.NORMAL, "frozen": True},
            "prepare": {"positions": [], "unsure": [7]},
            "freeze": {"positions": []},
        }.get(name, {"name": name})

    async def children(self, children: list[Child]) -> list[Outcome]:
        self.asked += children
        return [Outcome(each.id, ok=False) for each in children]


async def test_asking_in_vain_takes_two_attempts_so_that_those_who_wait_for_it_keep_their_time(
    scene: Scene,
) -> None:
    walk, settings = Walk(scene.resources), scene.resources.settings
    assert settings.llm_max_attempts > 2
    ended = await workflows.run_audit.body(walk, workflows.RunAuditJob(audit_id=1, job_id="a"))
    assert ended == {"name": "finish"}
    [question] = walk.asked
    assert question.deadline_seconds(settings) == 2 * settings.llm_timeout_seconds
    wish = workflows.ResolveSpeakersJob(audit_id=1, recording_id=7)
    assert question.payload == wish
    await workflows.resolve_speakers.body(walk, wish)
    assert walk.retry is not None
    assert walk.retry.attempts == 2


async def test_what_a_person_said_is_neither_asked_about_nor_changed_by_later_audits(
    scene: Scene, api: httpx2.AsyncClient
) -> None:
    await _corrected(api, speaker_0="advisor")
    assert await scene.resolve() == {"asked": 1}
    assert scene.model.prompts[0].endswith("<locuteurs>\nspeaker_1\n</locuteurs>")
    assert await scene.heard() == {"speaker_0": "advisor", "speaker_1": "advisor"}
    await _corrected(api, speaker_1="client")
    assert await scene.resolve() == {"asked": 0}
    assert await scene.heard() == {"speaker_0": "advisor", "speaker_1": "client"}


async def test_a_correction_made_while_the_model_is_being_asked_stands_above_its_answer(
    scene: Scene, api: httpx2.AsyncClient, database: Database
) -> None:
    async def correct() -> None:
        await _corrected(api, speaker_0="advisor", speaker_1="client")

    scene.model.meanwhile = correct
    assert await scene.resolve() == {"asked": 2}
    async with database.read() as session:
        said = await session.scalars(select(RecordingSpeaker.source).order_by(RecordingSpeaker.id))
        assert list(said) == ["rules", "rules", "person", "person", "model", "model"]
    assert await scene.heard() == {"speaker_0": "advisor", "speaker_1": "client"}
    shown = (await api.get(PATH)).json()["data"]["speakers"]
    assert [(each["role"], each["source"]) for each in shown] == [("advisor", "person"), ("client", "person")]


async def test_a_rerun_by_the_words_of_today_takes_the_roles_from_the_person(
    scene: Scene, api: httpx2.AsyncClient, database: Database
) -> None:
    await scene.resolve()
    await _corrected(api, speaker_0="advisor", speaker_1="client")
    async with database.write() as session:
        timeline, _ = await stages.heard(
            session, await row(session, scene.audit_id), scene.resources.settings
        )
    roles = {label: each.role for label, each in timeline.recordings[0].roles.items()}
    assert roles == {"speaker_0": "advisor", "speaker_1": "client"}


async def test_audits_that_meet_at_a_new_recording_store_what_rules_say_of_it_once(
    scene: Scene, database: Database
) -> None:
    """The second of them waits until the first has decided, and goes by that."""
    async with database.write() as session:
        calls = await transcribed(session, Actor.system("test"), scene.fiche_cache_id)
        await casting.known(session, "900001", calls)
        other = asyncio.create_task(scene.heard())
        while not await _waits_for_a_lock(database):
            assert not other.done()
    await other
    async with database.read() as session:
        assert len(await speakers.history(session, scene.recording_id)) == 2


async def test_the_calls_of_a_fiche_are_written_while_an_audit_decides_who_speaks_in_them(
    scene: Scene, database: Database
) -> None:
    """Who decides and who writes calls would else wait for each other where they take them in different orders."""
    async with database.write() as session, database.write() as other:
        calls = await transcribed(session, Actor.system("test"), scene.fiche_cache_id)
        await casting.known(session, "900001", calls)
        await other.execute(text("select from recordings for no key update nowait"))


async def _waits_for_a_lock(database: Database) -> bool:
    waiting = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    async with database.read() as session:
        return bool(await session.scalar(text(waiting)))
