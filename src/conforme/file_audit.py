"""`conforme audit PATH…`: what the command does once its options are read."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from conforme.audit_configs import files as config_files
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.rules import Rules
from conforme.audit_configs.shipped import SHIPPED, SHORT, shipped
from conforme.audits.files import Auditor, FileAudit, audit_call
from conforme.audits.report import as_html, as_json
from conforme.audits.scoring import score_text
from conforme.audits.stages import gating_of
from conforme.foundation.errors import ConformeError, Misconfigured
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable
from conforme.foundation.llm import missing_key, model_from
from conforme.foundation.outbound import Outbound
from conforme.settings import Settings
from conforme.transcriptions.elevenlabs import ElevenLabs
from conforme.transcriptions.formats import (
    AUDIO_SUFFIXES,
    MAX_BYTES,
    TRANSCRIPT_SUFFIXES,
    HeardCall,
    UnreadableCall,
    read_call,
)

PIECE_BYTES = 256 * 1024
CONFIG_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True)
class Options:
    """What was asked on the command line."""

    paths: tuple[Path, ...]
    config: str | None = None
    model: str | None = None
    as_json: bool = False
    html: Path | None = None
    sandbox: bool = False


@dataclass(frozen=True)
class Skipped:
    """A file that could not be audited, and why."""

    name: str
    reason: str


def run(options: Options, settings: Settings) -> int:
    """Audits every file and prints the report; the exit code.

    0: every call was audited to the end; 1: a file was skipped or a step was not analysed; 2: nothing could be done.
    """
    console = Console(stderr=options.as_json)
    try:
        audits, skipped, model = asyncio.run(_audit_all(options, settings, console))
    except Misconfigured as error:
        console.print(f"[red]{error.message}[/]", highlight=False)
        console.print("Without a key: [bold]--sandbox[/] audits with a rule-based stand-in on this machine.")
        return 2
    if options.html is not None and audits:
        options.html.write_text(as_html(audits, model), encoding="utf-8")
    if options.as_json:
        print(_json(audits, skipped, model))  # noqa: T201 -- what the command answers
    else:
        _print_report(console, audits, skipped)
    if not audits:
        return 2
    return 1 if skipped or any(audit.not_analysed for audit in audits) else 0


def rules_from(config: str | None) -> Rules:
    """The rubric of a file, or a shipped one by name; default the short one.

    Raises:
        InvalidConfiguration: no such file or name, or it cannot run.
    """
    name = config or SHORT
    rules = _rules_of_file(Path(name)) if Path(name).suffix.lower() in CONFIG_SUFFIXES else _shipped(name)
    if problems := rules.problems():
        raise InvalidConfiguration(problems)
    return rules


def _rules_of_file(path: Path) -> Rules:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidConfiguration([f"file: {path}: {error.strerror}"]) from None
    return config_files.load(content, config_files.format_of(path))


def _shipped(name: str) -> Rules:
    found = next((each for each in SHIPPED if each == name), None)
    if found is None:
        known = ", ".join(SHIPPED)
        raise InvalidConfiguration(
            [f"config: '{name}' is neither a file nor a shipped configuration ({known})"]
        )
    return shipped(found)


def calls_under(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and under each folder those that look like calls, in order."""
    known = AUDIO_SUFFIXES | TRANSCRIPT_SUFFIXES
    for path in paths:
        if path.is_dir():
            yield from sorted(
                each for each in path.rglob("*") if each.suffix.lower() in known and each.is_file()
            )
        else:
            yield path


async def _audit_all(
    options: Options, settings: Settings, console: Console
) -> tuple[list[FileAudit], list[Skipped], str]:
    async with AsyncExitStack() as stack:
        if options.sandbox:
            from conforme.sandbox.world import Sandbox, SandboxOptions

            sandbox = await stack.enter_async_context(Sandbox(SandboxOptions()))
            settings = settings_with(settings, sandbox.environment())
        if options.model:
            settings = settings.model_copy(update={"openai_model_audit": options.model})
        outbound = Outbound(settings)
        stack.push_async_callback(outbound.aclose)
        auditor = _auditor(settings, outbound, rules_from(options.config))
        files = list(calls_under(options.paths))
        audits, skipped = await _audit_files(auditor, files, settings, outbound, console)
        return audits, skipped, auditor.model.name


def settings_with(settings: Settings, environment: dict[str, str]) -> Settings:
    """The settings with these variables set, checked like any others."""
    known = {
        str(field.validation_alias or name).lower(): name for name, field in Settings.model_fields.items()
    }
    named = {known[name.lower()]: value for name, value in environment.items() if name.lower() in known}
    kept = {name: getattr(settings, name) for name in Settings.model_fields if name not in named}
    return Settings.model_validate(kept | named)


def _auditor(settings: Settings, outbound: Outbound, rules: Rules) -> Auditor:
    lacking = missing_key(settings)
    if lacking:
        raise Misconfigured(f"No language model is configured: set {lacking}.")
    return Auditor(
        model=model_from(settings, outbound),
        rules=rules,
        gating=gating_of(settings),
        retry=Retry(
            settings.llm_max_attempts,
            settings.llm_backoff_base_seconds,
            settings.llm_backoff_max_seconds,
            when=lambda _: True,
        ),
        prices=PriceTable.load(settings.price_table),
    )


async def _audit_files(
    auditor: Auditor, paths: list[Path], settings: Settings, outbound: Outbound, console: Console
) -> tuple[list[FileAudit], list[Skipped]]:
    audits: list[FileAudit] = []
    skipped: list[Skipped] = []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[steps]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Reading", total=len(paths), steps="")
        for path in paths:
            progress.update(task, description=path.name[:60], steps="")
            try:
                call = await _heard(path, settings, outbound)
                audits.append(await audit_call(auditor, call, path.name, _teller(progress, task)))
            except (ConformeError, OSError) as error:
                reason = (
                    error.message
                    if isinstance(error, ConformeError)
                    else (error.strerror or "cannot be read")
                )
                skipped.append(Skipped(str(path), reason))
            progress.advance(task)
    return audits, skipped


def _teller(progress: Progress, task: Any) -> Any:
    return lambda done, total: progress.update(task, steps=f"step {done}/{total}")


async def _heard(path: Path, settings: Settings, outbound: Outbound) -> HeardCall:
    """The words of a file; audio is transcribed first."""
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        with path.open("rb") as file:
            return read_call(file.read(MAX_BYTES + 1), path.name)
    if settings.elevenlabs_api_key is None:
        raise UnreadableCall(f"{path.name}: audio needs a speech key: set ELEVENLABS_API_KEY")
    if path.stat().st_size > settings.audio_max_bytes:  # noqa: ASYNC240 -- a local file, before any work
        raise UnreadableCall(f"{path.name}: larger than AUDIO_MAX_BYTES")
    heard = await ElevenLabs(settings, outbound).transcribe(
        _pieces(path), language=settings.elevenlabs_language
    )
    if not heard.words:
        raise UnreadableCall(f"{path.name}: no spoken word found")
    seconds = None if heard.audio_seconds is None else int(heard.audio_seconds)
    return HeardCall(heard.words, seconds, heard.language_code)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def _json(audits: list[FileAudit], skipped: list[Skipped], model: str) -> str:
    body = {
        "audits": [as_json(audit, model) for audit in audits],
        "skipped": [{"file": each.name, "reason": each.reason} for each in skipped],
    }
    return json.dumps(body, ensure_ascii=False, indent=2)


def _print_report(console: Console, audits: list[FileAudit], skipped: list[Skipped]) -> None:
    if len(audits) == 1:
        _print_steps(console, audits[0])
    _print_summary(console, audits)
    for each in skipped:
        console.print(f"[yellow]skipped[/] {each.name}: {each.reason}", highlight=False)


def _print_steps(console: Console, audit: FileAudit) -> None:
    for step in audit.steps:
        score = "" if step.score.score is None else f" · {step.score.score}/{step.step.weight}"
        console.print(
            f"\n[bold]{step.step.position}. {step.step.name}[/]  {step.score.conforme.value}{score}"
        )
        for point in step.points:
            rule = step.step.control_points[point.numero - 1]
            console.print(f"   {point.statut.value:<14} {rule.text}", highlight=False, markup=False)
            for quote in point.citations:
                console.print(
                    f"      {quote.minutage:>6}  « {quote.texte} »",
                    highlight=False,
                    markup=False,
                    style="green",
                )
    console.print()


def _print_summary(console: Console, audits: list[FileAudit]) -> None:
    table = Table(
        "call", "score", "niveau", "critical", "quotes", "dropped", "not analysed", "seconds", "cost"
    )
    for audit in audits:
        score = audit.score
        table.add_row(
            audit.name,
            f"{score_text(score.percentage)} %" if score.complete else "—",
            score.niveau.value,
            f"{score.critical_passed}/{score.critical_total}",
            str(audit.evidence.located),
            str(audit.evidence.dropped),
            str(len(audit.not_analysed)),
            f"{audit.seconds:.1f}",
            f"{audit.spending.cost:.4f} {audit.spending.currency}",
        )
    console.print(table)
