"""The simulated language model, asked by the real client library."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Literal

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.models import Model, override_allow_model_requests
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from conforme.audits.verdicts import StepVerdict
from conforme.sandbox.chassis import Service
from conforme.sandbox.fabrication import fabricate
from conforme.sandbox.model import ModelOptions, ModelStandIn
from conforme.sandbox.prefix_cache import LIFETIME_SECONDS, PrefixCache, tokens_in
from conforme.sandbox.reading import fenced, plain, spoken_turns
from conforme.sandbox.weather import Fault, FaultPlan, Latency

SPOKEN = (
    "Bonjour, Claire Vasseur du cabinet Orlanne, courtier immatriculé à l'ORIAS sous le numéro 00 123 456.",
    "Oui bonjour, je vous écoute.",
    "Mon appel est commercial, il s'agit de vous proposer une complémentaire santé.",
    "D'accord, mais je ne signe jamais rien le jour même, je préfère vous le dire.",
    "La cotisation est de 68 euros par mois, plus 15 euros de frais de dossier la première fois.",
    "Ce n'est pas plus cher que la mienne, je la paye 74 euros chaque mois.",
)
PADDING = "Nous parlons ensuite du jardin, de la pluie et du facteur qui passe tard. " * 4


def _prompt(points: tuple[str, ...], *, turns: int = 40) -> str:
    lines = [
        f"[1.{number}] speaker_{number % 2} 00:0{number} | {text}" for number, text in enumerate(SPOKEN, 1)
    ]
    lines += [
        f"[1.{number}] speaker_{number % 2} --:-- | {PADDING}" for number in range(len(SPOKEN) + 1, turns)
    ]
    listed = "\n".join(f"{n}. {text}\n   Preuve : appel" for n, text in enumerate(points, 1))
    return (
        "<configuration>\nAuditez.\n</configuration>\n\n<transcript>\n## Enregistrement 1\n"
        + "\n".join(lines)
        + f"\n</transcript>\n\n<step>\nÉtape 1/2 : Présentation\nGravité : HIGH · Poids : 5 · Critique : oui\n"
        f"Points de contrôle :\n{listed}\nMots-clés : orias; courtier\n</step>"
    )


ORIAS = "Le conseiller donne le numéro d'immatriculation du cabinet à l'ORIAS."
PRICE = "Le conseiller annonce le prix de la cotisation, taxes comprises."
RENUNCIATION = "Le conseiller dit que la personne dispose de quatorze jours pour renoncer au contrat."


@asynccontextmanager
async def _model(
    options: ModelOptions | None = None, faults: FaultPlan | None = None
) -> AsyncGenerator[tuple[ModelStandIn, Service]]:
    stand_in = ModelStandIn(options)
    async with stand_in.service(faults=faults) as service:
        yield stand_in, service


async def _ask(
    service: Service,
    prompt: str,
    *,
    api: Literal["responses", "chat"] = "responses",
    output: Any = NativeOutput,
    key: str = "sandbox-model-key",
    retries: int = 0,
) -> Any:
    """One question through the client library; its own retries are off."""
    async with httpx2.AsyncClient() as http:
        provider = OpenAIProvider(base_url=f"{service.url}/v1", api_key=key, http_client=http)
        named: dict[str, type[Model]] = {"responses": OpenAIResponsesModel, "chat": OpenAIChatModel}
        model = named[api]("gpt-5.2", provider=provider)  # pyright: ignore[reportCallIssue]
        agent = Agent(model, output_type=output(StepVerdict), instructions="Règles.", retries=retries)
        with override_allow_model_requests(True):
            return await agent.run(
                prompt, model_settings=ModelSettings(extra_body={"prompt_cache_key": "audit-1"})
            )


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("output", [NativeOutput, ToolOutput])
async def test_the_client_library_gets_a_typed_verdict(
    api: Literal["responses", "chat"], output: Any
) -> None:
    async with _model() as (_, service):
        run = await _ask(service, _prompt((ORIAS, RENUNCIATION)), api=api, output=output)
    first, second = run.output.points_controle
    assert (first.numero, first.statut.value) == (1, "PRESENT")
    assert first.citations[0].texte == SPOKEN[0]
    assert second.statut.value == "ABSENT"
    assert run.output.commentaire_global.startswith("Lecture par règles")


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_stream_carries_the_same_verdict(api: Literal["responses", "chat"]) -> None:
    async with _model() as (_, service):
        asked = await _raw(service, api, stream=True)
    assert asked.headers["content-type"].startswith("text/event-stream")
    assert "PRESENT" in asked.text.replace('"}', "")
    assert ("[DONE]" in asked.text) == (api == "chat")


async def _raw(service: Service, api: str, **fields: Any) -> httpx2.Response:
    schema = StepVerdict.model_json_schema()
    prompt = _prompt((ORIAS,))
    body: dict[str, Any] = (
        {"input": prompt, "text": {"format": {"type": "json_schema", "name": "v", "schema": schema}}}
        if api == "responses"
        else {
            "messages": [{"role": "user", "content": prompt}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "v", "schema": schema}},
        }
    )
    path = "/v1/responses" if api == "responses" else "/v1/chat/completions"
    async with httpx2.AsyncClient(headers={"authorization": "Bearer sandbox-model-key"}) as client:
        return await client.post(service.url + path, json={"model": "gpt-5.2"} | body | fields)


async def test_a_wrong_key_is_refused() -> None:
    async with _model() as (_, service):
        with pytest.raises(ModelHTTPError) as caught:
            await _ask(service, _prompt((ORIAS,)), key="another")
    assert caught.value.status_code == 401


async def test_a_second_step_finds_the_prefix_of_the_first_in_the_cache() -> None:
    async with _model() as (stand_in, service):
        cold = (await _ask(service, _prompt((ORIAS,)))).usage
        warm = (await _ask(service, _prompt((PRICE,)))).usage
    assert cold.cache_read_tokens == 0
    assert warm.cache_read_tokens % 128 == 0
    assert warm.cache_read_tokens > 0.8 * warm.input_tokens
    assert stand_in.usage["cached_tokens"] == warm.cache_read_tokens


async def test_a_cold_burst_saves_nothing() -> None:
    async with _model() as (stand_in, service):
        # Long enough for all of them to be asked before the first is answered.
        service.latency = Latency(base_ms=1500)
        await asyncio.gather(
            *(_raw(service, "responses", input=_prompt((point,))) for point in (ORIAS, PRICE))
        )
        assert service.tally.peak_in_flight == 2
        assert (stand_in.usage["calls"], stand_in.usage["cached_tokens"]) == (2, 0)
        service.latency = Latency()
        await _raw(service, "responses", input=_prompt((RENUNCIATION,)))
        assert stand_in.usage["cached_tokens"] > 0


async def test_planted_quotes_are_recorded_and_were_never_said() -> None:
    said = plain(" ".join(SPOKEN))
    async with _model(ModelOptions(fabricated_share=1.0)) as (stand_in, service):
        run = await _ask(service, _prompt((ORIAS, PRICE, RENUNCIATION)))
        counts = service.counts()
    planted = {quote["text"] for quote in counts["planted"]["quotes"]}
    cited = {quote.texte for point in run.output.points_controle for quote in point.citations}
    assert counts["planted"]["fabricated_quotes"] == len(planted) == 3
    assert planted < cited
    assert all(plain(text) not in said for text in planted)
    assert set(stand_in.planted) == planted


async def test_an_honest_model_plants_nothing() -> None:
    async with _model() as (stand_in, service):
        await _ask(service, _prompt((ORIAS, PRICE)))
        assert stand_in.planted == {}


@pytest.mark.parametrize("seed", range(6))
async def test_a_malformed_answer_is_seen_as_such_by_the_client(seed: int) -> None:
    faults = FaultPlan(shares={Fault.MALFORMED: 1.0})
    async with _model(ModelOptions(seed=seed, fabricated_share=1.0), faults) as (stand_in, service):
        with pytest.raises(UnexpectedModelBehavior):
            await _ask(service, _prompt((ORIAS,)))
        assert stand_in.planted == {}
        assert stand_in.usage["calls"] == 1


async def test_a_repair_is_answered_like_the_question_it_repairs() -> None:
    async with _model(ModelOptions(seed=2), FaultPlan(shares={Fault.MALFORMED: 0.5})) as (stand_in, service):
        run = await _ask(service, _prompt((ORIAS,)), retries=8)
        assert run.output.points_controle[0].statut.value == "PRESENT"
        assert stand_in.usage["calls"] >= 1


async def test_a_refusal_is_no_verdict() -> None:
    async with _model(ModelOptions(refusal_share=1.0)) as (stand_in, service):
        with pytest.raises(UnexpectedModelBehavior):
            await _ask(service, _prompt((ORIAS,)))
        assert stand_in.usage["refusals"] == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(429, Fault.RATE_LIMITED), (500, Fault.SERVER_ERROR), (503, Fault.UNAVAILABLE)]
)
async def test_provider_errors_reach_the_client_with_their_status(status: int, kind: Fault) -> None:
    async with _model(faults=FaultPlan(shares={kind: 1.0})) as (_, service):
        answer = await _raw(service, "responses")
    assert answer.status_code == status


async def test_a_strict_schema_that_leaves_things_open_is_refused() -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string"}}, "required": []}
    text = {"format": {"type": "json_schema", "name": "v", "schema": loose, "strict": True}}
    async with _model() as (_, service):
        answer = await _raw(service, "responses", text=text)
    assert answer.status_code == 400
    assert "additionalProperties" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model": "gpt-5.2"}', b'{"model": 3}'])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
async def test_what_breaks_the_protocol_is_answered_400(path: str, body: bytes) -> None:
    async with _model() as (_, service), httpx2.AsyncClient() as client:
        headers = {"authorization": "Bearer sandbox-model-key"}
        answer = await client.post(service.url + path, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


class _Other(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ready: bool
    colour: Literal["red", "blue"]
    parts: list[int]


async def test_a_question_that_is_no_audit_gets_an_empty_answer_of_its_shape() -> None:
    schema = _Other.model_json_schema()
    text = {"format": {"type": "json_schema", "name": "v", "schema": schema, "strict": True}}
    async with _model() as (_, service):
        answer = await _raw(service, "responses", text=text, input="Bonjour ?")
    _Other.model_validate_json(answer.json()["output"][0]["content"][0]["text"])


async def test_the_models_are_listed_for_who_has_the_key() -> None:
    async with _model() as (_, service), httpx2.AsyncClient() as client:
        listed = await client.get(
            f"{service.url}/v1/models", headers={"authorization": "Bearer sandbox-model-key"}
        )
        refused = await client.get(f"{service.url}/v1/models")
    assert "gpt-5.2" in {model["id"] for model in listed.json()["data"]}
    assert refused.status_code == 401


def test_a_prefix_is_forgotten_when_nobody_asks_for_it() -> None:
    now = 0.0
    cache = PrefixCache(clock=lambda: now)
    cache.remember("k", "a" * 8192)
    now = LIFETIME_SECONDS - 1
    assert cache.cached_tokens("k", "a" * 8192) == 2048
    now = 2 * LIFETIME_SECONDS
    assert cache.cached_tokens("k", "a" * 8192) == 0


@given(shared=st.integers(0, 12_000), own=st.integers(1, 3_000), other=st.integers(1, 3_000))
def test_only_a_whole_shared_prefix_is_cached(shared: int, own: int, other: int) -> None:
    cache = PrefixCache()
    cache.remember("k", "s" * shared + "a" * own)
    cached = cache.cached_tokens("k", "s" * shared + "b" * other)
    assert cached <= tokens_in("s" * shared)
    assert cached == 0 or (cached >= 1024 and cached % 128 == 0)
    if shared >= 4096:
        assert shared // 4 - cached < 128
    assert cache.cached_tokens("another", "s" * shared) == 0


@given(texts=st.lists(st.text(max_size=120), max_size=12), dice=st.randoms(use_true_random=False))
def test_a_fabricated_quote_is_never_a_sequence_of_the_words_said(texts: list[str], dice: Random) -> None:
    lines = [f"[1.{n}] s --:-- | {' '.join(text.split())}" for n, text in enumerate([*texts, *SPOKEN], 1)]
    turns = spoken_turns(fenced("<transcript>" + "\n".join(lines) + "</transcript>", "transcript"))
    made = fabricate(turns, dice)
    if made is not None:
        said = " ".join(plain(turn.text) for turn in turns)
        assert f" {plain(made.text)} " not in f" {said} "
        assert made.kind in {"number", "negation", "invented"}
