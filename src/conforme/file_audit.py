"""`conforme audit PATH…`: what the command does once its options are read."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from conforme.audit_configs import files as config_files
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.rules import Rules
from conforme.audit_configs.shipped import SHIPPED, SHORT, shipped
from conforme.audits.analysis import StepAnalysis
from conforme.audits.files import Auditor, FileAudit, audit_call, persistently
from conforme.audits.report import as_html, as_json, visible
from conforme.audits.scoring import score_text
from conforme.audits.stages import policy_of
from conforme.foundation.errors import ConformeError, External, Misconfigured
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable
from conforme.foundation.llm import LazyModel, missing_key, model_from
from conforme.foundation.outbound import Outbound
from conforme.settings import Settings, settings_with
from conforme.transcriptions.elevenlabs import ElevenLabs
from conforme.transcriptions.formats import AUDIO_SUFFIXES, MAX_BYTES, TRANSCRIPT_SUFFIXES, read_call
from conforme.transcriptions.heard import HeardCall, UnreadableCall
from conforme.transcriptions.words import one_line

ALL_DONE, SOME_MISSING, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130
PIECE_BYTES = 256 * 1024
CONFIG_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STAND_IN: Final = "bac à sable (lecture par règles, aucun modèle de langage)"
"""What the report calls the model of `--sandbox`: it is none."""


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
class Found:
    """A file to audit, and what the report calls it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Skipped:
    """A file that could not be audited, and why."""

    name: str
    reason: str


@dataclass
class Results:
    """What came of the files so far."""

    audits: list[FileAudit] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    model: str = ""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0: every call audited to the end; 1: a file skipped or a step not analysed; 2: nothing could be done."""
        if self.interrupted:
            return INTERRUPTED
        if not any(audit.steps for audit in self.audits):
            return NOTHING_DONE
        short = self.skipped or any(audit.not_analysed for audit in self.audits)
        return SOME_MISSING if short else ALL_DONE


def run(options: Options, settings: Settings) -> int:
    """Audits every file and prints the report; the exit code, as `Results.exit_code` has it.

    What would make the run useless is refused first, before anything is paid.
    """
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        results = _audited(options, settings, screen)
    except ConformeError as error:
        screen.print(Text(f"conforme: {error.message}"))
        if error.hint:
            screen.print(Text(error.hint))
        return NOTHING_DONE
    if options.html is not None and results.audits:
        _write_page(options.html, results, screen)
    if options.as_json:
        print(_json(results))  # noqa: T201 -- what the command answers
    else:
        _print_report(Console(highlight=False, soft_wrap=True), results.audits)
    for each in results.skipped:
        screen.print(Text.assemble(("skipped ", "yellow"), f"{each.name}: {each.reason}"))
    return results.exit_code


def _audited(options: Options, settings: Settings, screen: Console) -> Results:
    rules = rules_from(options.config)
    found = calls_under(options.paths)
    if not found:
        known = " ".join(sorted(AUDIO_SUFFIXES | TRANSCRIPT_SUFFIXES))
        raise UnreadableCall(f"no call found; what is looked for in folders: {known}")
    if options.html is not None and (options.html.is_dir() or not options.html.absolute().parent.is_dir()):
        raise Misconfigured(f"--html: {options.html} is not a file in an existing folder")
    results = Results()
    try:
        asyncio.run(_audit_all(options, settings, _Work(rules, found, results), screen))
    except KeyboardInterrupt:
        results.interrupted = True
    return results


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
        with path.open("rb") as file:
            content = file.read(config_files.MAX_BYTES + 1)
    except OSError as error:
        raise InvalidConfiguration([f"file: {path}: {error.strerror}"]) from None
    return config_files.load(content, config_files.format_of(path))


def _shipped(name: str) -> Rules:
    known = next((each for each in SHIPPED if each == name), None)
    if known is None:
        names = ", ".join(SHIPPED)
        raise InvalidConfiguration(
            [f"config: '{name}' is neither a file nor a shipped configuration ({names})"]
        )
    return shipped(known)


# Which files


def calls_under(paths: Iterable[Path]) -> list[Found]:
    """The files named, and under each folder those that look like calls, in order, each once; hidden ones are not."""
    found = list({each.path.resolve(): each for path in paths for each in _under(path)}.values())
    named = Counter(each.name for each in found)
    return [each if named[each.name] == 1 else Found(each.path, _name(each.path)) for each in found]


def _under(path: Path) -> Iterator[Found]:
    if not path.is_dir():
        yield Found(path, _name(Path(path.name)))
        return
    known = AUDIO_SUFFIXES | TRANSCRIPT_SUFFIXES
    for each in sorted(path.rglob("*")):
        inside = each.relative_to(path)
        hidden = any(part.startswith(".") for part in inside.parts)
        if each.suffix.lower() in known and not hidden and each.is_file():
            yield Found(each, _name(inside))


def _name(path: Path) -> str:
    return visible(one_line(str(path))) or "?"


# The run


@dataclass(frozen=True)
class _Work:
    rules: Rules
    found: list[Found]
    results: Results


async def _audit_all(options: Options, settings: Settings, work: _Work, screen: Console) -> None:
    async with AsyncExitStack() as stack:
        if options.sandbox:
            settings = settings_with(settings, await _stand_in(stack))
        elif options.model:
            settings = settings.model_copy(update={"openai_model_audit": options.model})
        outbound = Outbound(settings)
        stack.push_async_callback(outbound.aclose)
        auditor = _auditor(settings, outbound, work.rules, paid=not options.sandbox)
        work.results.model = STAND_IN if options.sandbox else auditor.model.name
        await _audit_files(auditor, work, _Ears(settings, outbound), screen)


async def _stand_in(stack: AsyncExitStack) -> dict[str, str]:
    """Starts the sandbox and points the language model at it, and nothing else: it cannot hear real audio."""
    from conforme.sandbox.world import Sandbox, SandboxOptions

    sandbox = await stack.enter_async_context(Sandbox(SandboxOptions()))
    named = sandbox.environment().items()
    return {name: value for name, value in named if name.startswith(("LLM_", "OPENAI_"))}


def _auditor(settings: Settings, outbound: Outbound, rules: Rules, *, paid: bool) -> Auditor:
    if lacking := missing_key(settings):
        raise Misconfigured(
            f"no language model is configured: set {lacking}",
            hint="Without a key, --sandbox audits by rules on this machine: good for a first look, not for a verdict.",
        )
    return Auditor(
        model=model_from(settings, outbound),
        rules=rules,
        policy=policy_of(settings),
        retry=Retry(
            settings.llm_max_attempts,
            settings.llm_backoff_base_seconds,
            settings.llm_backoff_max_seconds,
            when=_worth_retrying,
        ),
        prices=PriceTable.load(settings.price_table) if paid else None,
    )


def _worth_retrying(error: BaseException) -> bool:
    return isinstance(error, External) and error.retryable


async def _audit_files(auditor: Auditor, work: _Work, ears: "_Ears", screen: Console) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[steps]}", markup=False),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=len(work.found), steps="")
        if isinstance(
            auditor.model, LazyModel
        ):  # else the first call would be charged with the seconds of its import
            await asyncio.to_thread(auditor.model.warm_up)
        for number, each in enumerate(work.found):
            progress.update(task, description=each.name[-50:], completed=number, steps="")
            try:
                call = await ears.hear(each.path)
                audit = await audit_call(auditor, call, each.name, _teller(progress, task))
                work.results.audits.append(audit)
            except Exception as error:  # noqa: BLE001 -- one file must not cost the audits of the others
                work.results.skipped.append(Skipped(each.name, _reason(error)))


def _teller(progress: Progress, task: TaskID) -> Callable[[int, int], None]:
    return lambda done, total: progress.update(task, steps=f"step {done}/{total}")


def _reason(error: Exception) -> str:
    if isinstance(error, ConformeError):
        return error.message
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    return f"unexpected {type(error).__name__}"


class _Ears:
    """Reads transcripts, and has audio transcribed."""

    def __init__(self, settings: Settings, outbound: Outbound) -> None:
        self._settings = settings
        self._outbound = outbound

    async def hear(self, path: Path) -> HeardCall:
        """The words of a file.

        Raises:
            UnreadableCall: it is no call, or needs a key that is not set.
            SpeechFailed: the provider did not transcribe it.
            OSError: it cannot be opened.
        """
        if path.suffix.lower() in AUDIO_SUFFIXES:
            return await self._transcribed(path)
        return await asyncio.to_thread(_read, path)

    async def _transcribed(self, path: Path) -> HeardCall:
        given = self._settings
        if given.elevenlabs_api_key is None:
            raise UnreadableCall(
                "audio needs a speech-to-text key: set ELEVENLABS_API_KEY, or give a transcript"
            )
        if path.stat().st_size > given.audio_max_bytes:  # noqa: ASYNC240 -- a local file, before any work
            raise UnreadableCall(f"larger than AUDIO_MAX_BYTES ({given.audio_max_bytes})")
        retry = Retry(
            given.transcription_elevenlabs_max_attempts,
            given.transcription_elevenlabs_backoff_base_seconds,
            given.transcription_elevenlabs_backoff_max_seconds,
            when=_worth_retrying,
        )
        speech = ElevenLabs(given, self._outbound)
        heard = await persistently(
            retry, lambda: speech.transcribe(_pieces(path), language=given.elevenlabs_language)
        )
        if not heard.words:
            raise UnreadableCall("no spoken word heard")
        seconds = None if heard.audio_seconds is None else int(heard.audio_seconds)
        return HeardCall(heard.words, seconds, heard.language_code)


def _read(path: Path) -> HeardCall:
    with path.open("rb") as file:
        return read_call(file.read(MAX_BYTES + 1), path.name)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


# The report


def _json(results: Results) -> str:
    body = {
        "audits": [as_json(audit, results.model) for audit in results.audits],
        "skipped": [{"file": each.name, "reason": each.reason} for each in results.skipped],
    }
    return json.dumps(body, ensure_ascii=_narrow(sys.stdout.encoding), indent=2)


def _narrow(encoding: str | None) -> bool:
    """Whether the output cannot take every character."""
    return (encoding or "").lower().replace("-", "") not in {"utf8", "utf8sig"}


def _write_page(path: Path, results: Results, screen: Console) -> None:
    try:
        path.write_text(as_html(results.audits, results.model), encoding="utf-8")
    except OSError as error:
        screen.print(Text(f"conforme: {path} could not be written: {error.strerror}", style="red"))


def _print_report(console: Console, audits: list[FileAudit]) -> None:
    if len(audits) == 1:
        for step in audits[0].steps:
            _print_step(console, step, audits[0].call)
    if audits:
        console.print(_summary(audits))
    for audit in audits:
        for each in audit.not_analysed:
            console.print(
                Text.assemble(
                    ("not analysed ", "yellow"), f"{audit.name}, step {each.position}: {each.reason}"
                )
            )


def _print_step(console: Console, analysis: StepAnalysis, call: HeardCall) -> None:
    step, score = analysis.step, analysis.score
    earned = "" if score.score is None else f" · {score.score}/{step.weight}"
    console.print(
        Text.assemble((f"\n{step.position}. {step.name}", "bold"), f"  {score.conforme.value}{earned}")
    )
    for point in analysis.points:
        rule = step.control_points[point.numero - 1]
        console.print(Text(f"   {point.statut.value:<14} {visible(rule.text)}"))
        for quote in point.citations:
            time = "" if quote.minutage_secondes is None else f"{quote.minutage} · "
            place = f"{time}turn {call.turn_of(quote.first_word)}"
            console.print(Text(f"      « {visible(quote.texte)} »  {place}", style="green"))


def _summary(audits: list[FileAudit]) -> Table:
    table = Table()
    table.add_column("call", overflow="fold", min_width=16)
    for heading in ("score", "niveau", "critical", "quotes", "seconds", "cost"):
        table.add_column(heading, no_wrap=True)
    for audit in audits:
        score = audit.score
        table.add_row(
            Text(audit.name),
            f"{score_text(score.percentage)} %" if score.complete and score.total else "—",
            score.niveau.value,
            f"{score.critical_passed}/{score.critical_total}",
            _quotes(audit),
            f"{audit.seconds:.1f}",
            _amount(audit.spending.cost, audit.spending.currency),
        )
    return table


def _quotes(audit: FileAudit) -> str:
    kept, dropped = audit.evidence.located, audit.evidence.dropped
    return f"{kept} (-{dropped})" if dropped else str(kept)


def _amount(cost: Decimal, currency: str) -> str:
    return f"{cost:.4f} {currency}" if currency else "—"
