"""`conforme compare-modes`: what the command does once its options are read."""

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from conforme.audits.comparing import Compared, Means, chosen_fiches, chosen_rules, compare
from conforme.audits.scoring import score_text
from conforme.audits.stages import budget_of, policy_of
from conforme.foundation.database import Database
from conforme.foundation.errors import External, Misconfigured
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable
from conforme.foundation.llm import LazyModel, missing_key, model_from
from conforme.foundation.outbound import Outbound
from conforme.settings import Settings

ROWS = (
    ("score", "score"),
    ("prompt tokens", "prompt_tokens"),
    ("of them cached", "cached_tokens"),
    ("output tokens", "output_tokens"),
    ("requests", "requests"),
    ("cost", "cost"),
    ("seconds", "seconds"),
    ("citations", "citations"),
    ("citations dropped", "citations_dropped"),
)


@dataclass(frozen=True)
class Options:
    """What was asked on the command line."""

    fiches: tuple[str, ...]
    random_count: int = 3
    config: str | None = None
    seed: int | None = None
    as_json: bool = False


async def run(options: Options, settings: Settings, database: Database) -> None:
    """Audits each fiche in both modes and prints how they differ.

    Raises:
        Misconfigured: no language model is configured; said before anything is paid.
        NotFound, Invalid: the configuration or a fiche cannot be audited.
    """
    if lacking := missing_key(settings):
        raise Misconfigured(f"no language model is configured: set {lacking}", field=lacking)
    async with database.read() as session:
        rules = await chosen_rules(session, options.config)
        fiches = await chosen_fiches(session, options.fiches, options.random_count, options.seed)
    outbound = Outbound(settings)
    try:
        means = _means(settings, database, outbound)
        if isinstance(
            means.model, LazyModel
        ):  # else the first audit would be charged with the time of its import
            await asyncio.to_thread(means.model.warm_up)
        compared = [await compare(means, rules, fiche) for fiche in fiches]
    finally:
        await outbound.aclose()
    if options.as_json:
        print(json.dumps(as_json(rules.name, compared), ensure_ascii=False, indent=2))  # noqa: T201 -- what the command answers
    else:
        _print(Console(highlight=False, soft_wrap=True), rules.name, compared)


def _means(settings: Settings, database: Database, outbound: Outbound) -> Means:
    retry = Retry(
        settings.llm_max_attempts,
        settings.llm_backoff_base_seconds,
        settings.llm_backoff_max_seconds,
        when=lambda error: isinstance(error, External) and error.retryable,
    )
    prices = PriceTable.load(settings.price_table)
    model, policy = model_from(settings, outbound), policy_of(settings)
    return Means(database, model, policy, retry, prices, budget_of(settings), settings)


def as_json(config: str, compared: list[Compared]) -> dict[str, Any]:
    """`{config, fiches: [{fiche_id, prompt, tools, same_statuts, shared_citations, prompt_token_ratio}]}`."""
    return {"config": config, "fiches": [each.as_json() for each in compared]}


def _print(console: Console, config: str, compared: list[Compared]) -> None:
    for each in compared:
        shown = each.as_json()
        table = Table(title=f"{each.fiche_id} · {config}")
        for heading in ("", "prompt", "tools"):
            table.add_column(heading, no_wrap=True)
        for label, name in ROWS:
            table.add_row(label, _text(name, shown["prompt"]), _text(name, shown["tools"]))
        console.print(table)
        console.print(
            f"same statuses {each.same_statuts:.0%} · citations shared {each.shared_citations}"
            f" · prompt tokens of tools mode {shown['prompt_token_ratio']:.0%}"
        )


def _text(name: str, measured: dict[str, Any]) -> str:
    if name == "score":
        return f"{score_text(Decimal(measured['score']))} % {measured['niveau']}"
    return f"{measured[name]} {measured['currency']}" if name == "cost" else str(measured[name])
