"""`conforme demo`: a day of sales, from an invented CRM to scored audits, on this machine alone.

A run that was cut off (even by `kill -9`) goes on where it stood: its day, its keys and the sandbox's ports are in
the data folder, and the durable engine holds the rest. A finished run makes room for the next day.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel, Field
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from conforme.accounts.actor import Actor
from conforme.accounts.seeding import seed as seed_accounts
from conforme.app import Role
from conforme.audit_configs.shipped import COMPLETE, ensure_shipped, seed
from conforme.demo_people import Place, new_passwords, print_cast, settle
from conforme.fiches import queries as fiches
from conforme.fiches.schemas import FetchSalesDay
from conforme.fiches.workflows import fetch_sales_day
from conforme.foundation.errors import Unavailable
from conforme.foundation.events import audit_channel, fiche_channel
from conforme.foundation.resources import Resources
from conforme.process import Served, http_server, migrated_database, stop_on_signals
from conforme.realtime.routes import MAX_CHANNELS
from conforme.sandbox.weather import FaultPlan
from conforme.sandbox.world import Ports, Sandbox, SandboxOptions
from conforme.settings import Settings, settings_with

ACTOR = Actor.system("demo")
FIRST_DAY = date(2026, 1, 5)
DAY_SECONDS = 120.0
AUDIT_SECONDS = 900.0
FABRICATED_SHARE = 0.05
"""How often the simulated model invents a quote, so that the demo can show what becomes of it."""
INTERRUPTED = 130
NIVEAU_STYLES = {
    "EXCELLENT": "green",
    "BON": "green",
    "ACCEPTABLE": "yellow",
    "INSUFFISANT": "red",
    "REJET": "bold red",
}


@dataclass(frozen=True)
class DemoOptions:
    """What was asked on the command line."""

    fiches: int = 6
    once: bool = False
    json_file: Path | None = None
    fault_rate: float = 0.0


class DemoState(BaseModel):
    """What outlives the process: which run this is, and where the sandbox listens."""

    run: int = 1
    day: date = FIRST_DAY
    token: str
    finished: bool = False
    ports: dict[str, int] = Field(default_factory=dict[str, int])
    signing_key: str = Field(default_factory=lambda: secrets.token_urlsafe(48))
    passwords: dict[str, str] = Field(default_factory=new_passwords)


@dataclass
class Watched:
    """One audit of the demo, as its events tell of it."""

    fiche_id: str
    audit_id: str
    audit_db_id: str
    phase: str = "queued"
    percent: int = 0
    ended: bool = False


def run(options: DemoOptions, settings: Settings) -> int:
    """Runs the demo; 0 when every audit completed."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
    settings = settings.model_copy(update={"data": settings.data / "demo", "database_url": None})
    settings.data.mkdir(parents=True, exist_ok=True)
    state = _load_state(settings.data / "demo.json")
    with migrated_database(settings) as url:
        return asyncio.run(_demo(options, settings, state, url, console))


def _load_state(path: Path) -> DemoState:
    """The run that was cut off, or the one after the last that finished."""
    state = (
        DemoState.model_validate_json(path.read_bytes())
        if path.exists()
        else DemoState(token=secrets.token_urlsafe(24))
    )
    if state.finished:
        state = state.model_copy(
            update={"run": state.run + 1, "day": state.day + timedelta(days=1), "finished": False}
        )
    return state


def _save_state(settings: Settings, state: DemoState) -> None:
    path = settings.data / "demo.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(state.model_dump_json(), encoding="utf-8")
    fresh.replace(path)


async def _demo(
    options: DemoOptions, settings: Settings, state: DemoState, url: str, console: Console
) -> int:
    asked = stop_on_signals()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(await _sandbox(options, state))
        ports = {service.name: service.port for service in sandbox.services}
        state = state.model_copy(update={"ports": ports})
        _save_state(settings, state)
        keys = {"API_AUTH_TOKENS": state.token, "JWT_ACCESS_SECRET": state.signing_key}
        environment = {**sandbox.environment(), **DEMO_ENVIRONMENT, **keys}
        settings = settings_with(settings, environment)
        served = await stack.enter_async_context(http_server(settings, url, Role.ALL))
        work = asyncio.create_task(_work(options, state, served, sandbox, console))
        told = asyncio.create_task(asked.wait())
        await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            console.print("Stopped; the same command goes on where this one stood.")
            return INTERRUPTED
        code = work.result()
        _save_state(settings, state.model_copy(update={"finished": True}))
        if not options.once:
            _print_addresses(console, served, state)
            await told
        told.cancel()
        return code


async def _sandbox(options: DemoOptions, state: DemoState) -> Sandbox:
    """The sandbox on the ports of the run that was cut off, whose recordings' addresses are stored already."""
    plan = SandboxOptions(
        faults=FaultPlan.of_rate(options.fault_rate, hang_seconds=2.0),
        fabricated_share=FABRICATED_SHARE,
        ports=Ports(**state.ports),
    )
    return Sandbox(plan)


DEMO_ENVIRONMENT = {
    "TRANSCRIPTION_ELEVENLABS_RATE_LIMIT_PER_MINUTE": "600",
    "LLM_BACKOFF_BASE_SECONDS": "0.2",
    "TRANSCRIPTION_ELEVENLABS_BACKOFF_BASE_SECONDS": "0.2",
}
"""The sandbox may be asked faster than a provider that is paid."""


async def _work(
    options: DemoOptions, state: DemoState, served: Served, sandbox: Sandbox, console: Console
) -> int:
    resources = served.resources
    console.print(f"[bold]Conforme[/] · sales of {state.day:%d/%m/%Y} · everything runs on this machine")
    config_id = await _configuration(resources)
    fetched = await _fetch_day(resources, state)
    console.print(f"CRM: {fetched['stored']} sales fetched in one search")
    chosen = await _choose(resources, state.day, options.fiches)
    headers = {"Authorization": f"Bearer {state.token}"}
    async with httpx2.AsyncClient(
        base_url=served.url, headers=headers, timeout=60, trust_env=False
    ) as client:
        watched = [await _ask(client, state, fiche_id, config_id) for fiche_id in chosen]
        await _watch(client, watched, console)
        details = [await _detail(client, each) for each in watched]
        sold = {fiche_id: await _information(client, fiche_id) for fiche_id in chosen}
    if place := next((Place.of(each) for each in sold.values() if each), None):
        await settle(resources.database, state.passwords, place)
    advisors = {fiche_id: each.get("attribution_user_nom") or "" for fiche_id, each in sold.items()}
    report = _report(details, sandbox)
    _print_report(console, details, advisors, report)
    if options.json_file is not None:
        text = json.dumps(report, ensure_ascii=False, indent=2)
        options.json_file.write_text(text, encoding="utf-8")
    return 0 if details and all(detail["status"] == "completed" for detail in details) else 1


async def _configuration(resources: Resources) -> int:
    await seed_accounts(resources.database, resources.settings)
    async with resources.database.write() as session:
        await seed(session)
        return await ensure_shipped(session, COMPLETE)


async def _fetch_day(resources: Resources, state: DemoState) -> dict[str, Any]:
    """One durable search; asked again after a crash it is the same one."""
    identifier = f"demo-{state.run}-sales-{state.day}"
    async with resources.database.write() as session:
        await resources.durable.dispatch(
            session, fetch_sales_day, FetchSalesDay(day=state.day), id=identifier
        )
    outcome = await resources.durable.wait(identifier, DAY_SECONDS)
    if not outcome.ok:
        raise Unavailable(outcome.error)
    return outcome.value


async def _choose(resources: Resources, day: date, count: int) -> list[str]:
    async with resources.database.read() as session:
        rows = await fiches.of_day(session, ACTOR, day)
    return sorted(row.fiche_id for row in rows)[:count]


async def _ask(client: httpx2.AsyncClient, state: DemoState, fiche_id: str, config_id: int) -> Watched:
    """Asks for an audit; the key makes a run that is taken up again find the audit it asked for before."""
    answer = await client.post(
        "/api/audits/run",
        json={"fiche_id": fiche_id, "audit_config_id": config_id},
        headers={"Idempotency-Key": f"demo-{state.run}-{fiche_id}"},
    )
    answer.raise_for_status()
    body = answer.json()
    return Watched(fiche_id, body["audit_id"], body["audit_db_id"])


async def _detail(client: httpx2.AsyncClient, watched: Watched) -> dict[str, Any]:
    answer = await client.get(f"/api/audits/{watched.audit_db_id}")
    answer.raise_for_status()
    return answer.json()["data"]


async def _watch(client: httpx2.AsyncClient, watched: list[Watched], console: Console) -> None:
    """Follows the audits on the event stream until each has ended, showing how far they are."""
    by_channel = {each.audit_id: each for each in watched}
    by_fiche = {each.fiche_id: each for each in watched}
    channels = [
        name for each in watched for name in (audit_channel(each.audit_id), fiche_channel(each.fiche_id))
    ]
    pages = [channels[at : at + MAX_CHANNELS] for at in range(0, len(channels), MAX_CHANNELS)]
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def hear(name: str, payload: dict[str, Any]) -> None:
            each = by_channel.get(payload.get("audit_id", "")) or by_fiche.get(payload.get("fiche_id", ""))
            if each is not None and not each.ended:
                _hear(each, name, payload)
                live.update(_progress_table(watched))

        def all_ended() -> bool:
            return all(each.ended for each in watched)

        async with asyncio.timeout(AUDIT_SECONDS):
            await asyncio.gather(*(_follow(client, page, hear, all_ended) for page in pages))


async def _follow(
    client: httpx2.AsyncClient,
    channels: list[str],
    hear: Callable[[str, dict[str, Any]], None],
    ended: Callable[[], bool],
) -> None:
    """Reads the stream, and takes it up again behind the last event when it is cut."""
    last = "0"
    while not ended():
        query = {"channels": ",".join(channels)}
        async with client.stream(
            "GET", "/api/realtime/stream", params=query, headers={"Last-Event-ID": last}
        ) as stream:
            stream.raise_for_status()
            fields: dict[str, str] = {}
            async for line in stream.aiter_lines():
                if line:
                    field_name, _, value = line.partition(": ")
                    fields[field_name] = value
                    continue
                if "data" in fields:
                    last = fields["id"]
                    hear(fields["event"], json.loads(fields["data"]))
                fields = {}
                if ended():
                    return


PHASES = {
    "audit.fiche_fetch_started": "fetching the fiche",
    "audit.transcription_check": "checking transcripts",
    "transcription.progress": "transcribing",
    "audit.timeline_generated": "building the timeline",
    "audit.progress": "analysing",
    "audit.completed": "completed",
    "audit.failed": "failed",
}


def _hear(each: Watched, name: str, payload: dict[str, Any]) -> None:
    each.phase = PHASES.get(name, each.phase)
    if name == "audit.progress":
        each.percent = payload["progress_percentage"]
        each.phase = f"{payload['current_phase']} {payload['completed_steps']}/{payload['total_steps']}"
    each.ended = name in {"audit.completed", "audit.failed"}
    if name == "audit.completed":
        each.percent = 100


def _progress_table(watched: list[Watched]) -> Table:
    table = Table("fiche", "", "phase", box=None)
    for each in watched:
        table.add_row(each.fiche_id, ProgressBar(total=100, completed=each.percent, width=30), each.phase)
    return table


async def _information(client: httpx2.AsyncClient, fiche_id: str) -> dict[str, Any]:
    """What the fiche says of itself: its group, and who sold."""
    answer = await client.get(f"/api/fiches/{fiche_id}")
    answer.raise_for_status()
    return answer.json().get("information") or {}


def _report(details: list[dict[str, Any]], sandbox: Sandbox) -> dict[str, Any]:
    """What `--json` writes."""
    audits = [_audit_line(detail) for detail in details]
    costs = [detail["cost"] for detail in details]
    planted = {quote["text"] for quote in sandbox.planted()["quotes"]}
    kept = [quote for detail in details for quote in _quotes(detail) if quote in planted]
    return {
        "fiches": [
            detail["resultData"]["audit"]["fiche"]["fiche_id"]
            for detail in details
            if detail["status"] == "completed"
        ],
        "recordings": sum(detail["recordingsCount"] or 0 for detail in details),
        "audits": audits,
        "totals": {
            "audits": len(audits),
            "seconds": round(sum(audit["seconds"] for audit in audits), 3),
            "prompt_tokens": sum(cost["promptTokens"] for cost in costs),
            "cached_tokens": sum(cost["cachedTokens"] for cost in costs),
            "output_tokens": sum(cost["outputTokens"] for cost in costs),
            "cost": format(sum((Decimal(cost["amount"]) for cost in costs), Decimal(0)), "f"),
        },
        "planted": {"fabricated_quotes": len(planted), "fabricated_quotes_kept": len(kept)},
    }


def _quotes(detail: dict[str, Any]) -> list[str]:
    """What the model wrote for each quote that was kept."""
    steps = detail["resultData"].get("audit", {}).get("results", {}).get("steps", [])
    return [
        text
        for step in steps
        for point in step["points_controle"]
        for citation in point["citations"]
        for text in (citation["claimed"], citation["texte"])
    ]


def _audit_line(detail: dict[str, Any]) -> dict[str, Any]:
    statistics = detail["resultData"].get("statistics", {})
    return {
        "fiche_id": detail["ficheId"],
        "audit_id": detail["id"],
        "status": detail["status"],
        "score": detail["scorePercentage"],
        "niveau": detail["niveau"],
        "steps": len(detail["stepResults"]),
        "citations_located": statistics.get("citations_located", 0),
        "citations_dropped": statistics.get("citations_dropped", 0),
        "seconds": (detail["durationMs"] or 0) / 1000,
        "cost": detail["cost"]["amount"],
    }


def _print_report(
    console: Console, details: list[dict[str, Any]], advisors: dict[str, str], report: dict[str, Any]
) -> None:
    table = Table(
        "fiche", "advisor", "calls", "score", "niveau", "critical", "quotes", "dropped", "time", "cost"
    )
    for detail, line in zip(details, report["audits"], strict=True):
        style = NIVEAU_STYLES.get(line["niveau"], "dim")
        table.add_row(
            line["fiche_id"],
            advisors.get(line["fiche_id"], ""),
            str(detail["recordingsCount"] or 0),
            f"{line['score']} %" if line["status"] == "completed" else "—",
            f"[{style}]{line['niveau'] if line['status'] == 'completed' else line['status']}[/]",
            f"{detail['criticalPassed']}/{detail['criticalTotal']}",
            str(line["citations_located"]),
            str(line["citations_dropped"]),
            f"{line['seconds']:.1f} s",
            f"{Decimal(line['cost']):.4f}",
        )
    console.print(table)
    _print_totals(console, report)


def _print_totals(console: Console, report: dict[str, Any]) -> None:
    totals, planted = report["totals"], report["planted"]
    share = 100 * totals["cached_tokens"] / totals["prompt_tokens"] if totals["prompt_tokens"] else 0
    console.print(
        f"{totals['audits']} audits · {totals['prompt_tokens']:,} prompt tokens, {share:.0f} % from the cache"
        f" · {totals['output_tokens']:,} output tokens · cost {Decimal(totals['cost']):.2f} USD at list prices"
    )
    console.print(
        f"The model was made to invent {planted['fabricated_quotes']} quotes;"
        f" [bold]{planted['fabricated_quotes_kept']}[/] of them were kept as evidence."
    )


def _print_addresses(console: Console, served: Served, state: DemoState) -> None:
    console.print(f"\nAPI        {served.url}/api-docs", highlight=False)
    console.print(f"Token      {state.token}", highlight=False)
    command = f"curl -H 'Authorization: Bearer {state.token}' {served.url}/api/audits"
    console.print(f"Try        {command}", highlight=False, soft_wrap=True)
    print_cast(console, served.url, state.passwords)
    console.print("Ctrl-C stops.")
