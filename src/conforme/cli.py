"""The `conforme` command. What a command needs is imported inside it, so that `--help` is instant."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from conforme.foundation.database import Database
    from conforme.settings import Settings

app = typer.Typer(
    name="conforme",
    help="Audits recorded sales calls, and keeps only the findings that words really spoken support.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
configs = typer.Typer(help="Audit configurations: what calls are judged by.", no_args_is_help=True)
app.add_typer(configs, name="config")
people = typer.Typer(help="People who may sign in.", no_args_is_help=True)
app.add_typer(people, name="users")
changes = typer.Typer(help="The log of what was changed and what was refused.", no_args_is_help=True)
app.add_typer(changes, name="audit-log")

T = TypeVar("T")


class RoleName(StrEnum):
    """What this process does."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


class FileFormat(StrEnum):
    YAML = "yaml"
    JSON = "json"


def main() -> None:
    """Entry point: errors that are the user's to solve are one line on standard error, and exit code 1."""
    from conforme.foundation.errors import ConformeError

    try:
        app()
    except ConformeError as error:
        _fail(error.message)


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"conforme: {message}", err=True)
    sys.exit(code)


def load_settings() -> "Settings":
    """The configuration; a wrong value is named and ends the command."""
    from pydantic import ValidationError

    from conforme.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in issue['loc']).upper() or 'settings'}: {issue['msg']}"
            for issue in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        _fail("invalid settings\n  " + "\n  ".join(lines), code=2)


def _configured(**instead: str) -> "Settings":
    """The configuration, with logging set up by it; `instead` replaces what the environment leaves at its default."""
    from conforme.foundation.logging import configure_logging

    settings = load_settings()
    chosen = {name: value for name, value in instead.items() if name not in settings.model_fields_set}
    settings = settings.model_copy(update=chosen)
    configure_logging(settings)
    return settings


@app.command()
def demo(
    fiches: Annotated[int, typer.Option(help="Sales to audit.", min=1, max=200)] = 6,
    once: Annotated[bool, typer.Option("--once", help="End after the report instead of serving on.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")] = None,
    fault_rate: Annotated[
        float, typer.Option(help="Share of provider calls that fail.", min=0, max=0.9)
    ] = 0.0,
) -> None:
    """Audit a day of invented sales on this machine, then serve the result."""
    from conforme.demo import DemoOptions, run

    raise typer.Exit(
        run(
            DemoOptions(fiches, once=once, json_file=json, fault_rate=fault_rate),
            _configured(log_level="warning"),
        )
    )


@app.command()
def serve(
    role: Annotated[
        RoleName, typer.Option(help="all: HTTP and jobs; api: HTTP alone; worker: jobs alone.")
    ] = RoleName.ALL,
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (PORT).", min=0, max=65535)] = None,
) -> None:
    """Run one replica: HTTP, durable jobs, or both."""
    from conforme.app import Role
    from conforme.process import migrated_database
    from conforme.process import serve as run

    settings = _configured()
    chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update=chosen)
    with migrated_database(settings) as url:
        _with_database(url, seed_configurations)
        _with_database(url, lambda database: seed_accounts(database, settings))
        asyncio.run(run(settings, url, Role(role.value)))


@app.command()
def sandbox(  # noqa: PLR0913, PLR0917 -- one parameter per option
    json: Annotated[
        Path | None,
        typer.Option("--json", help="File to write addresses and environment to; default standard output."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same people, calls and faults.")] = 1,
    fault_rate: Annotated[
        float, typer.Option(help="Share of provider calls that fail.", min=0, max=0.9)
    ] = 0.0,
    fabricated_share: Annotated[
        float,
        typer.Option(
            help="Share of control points to which the model adds a quote nobody said.", min=0, max=1
        ),
    ] = 0.0,
    model_latency_ms: Annotated[float, typer.Option(help="Time of each answer of the model.", min=0)] = 0.0,
    speech_latency_ms: Annotated[float, typer.Option(help="Time of each transcription.", min=0)] = 0.0,
    crm_latency_ms: Annotated[float, typer.Option(help="Time of each answer of the CRM.", min=0)] = 0.0,
    sales_per_day: Annotated[int, typer.Option(help="Sales of each day.", min=0, max=200)] = 12,
    attempts_per_sale: Annotated[
        int, typer.Option(help="Calls that came to nothing before each sale.", min=0, max=2)
    ] = 0,
) -> None:
    """Simulate every outside system on loopback until stopped: CRM, speech, model, Pusher, webhooks, mail.

    Says in JSON where each listens and which environment points Conforme at them.
    """
    from conforme.process import stop_on_signals
    from conforme.sandbox.weather import FaultPlan, Latency
    from conforme.sandbox.world import Sandbox, SandboxOptions, as_json, serve

    options = SandboxOptions(
        seed=seed,
        faults=FaultPlan.of_rate(fault_rate),
        fabricated_share=fabricated_share,
        model_latency=Latency(base_ms=model_latency_ms),
        speech_latency=Latency(base_ms=speech_latency_ms),
        crm_latency=Latency(base_ms=crm_latency_ms),
        sales_per_day=sales_per_day,
        attempts_per_sale=attempts_per_sale,
    )

    def announce(world: Sandbox) -> None:
        if json is None:
            typer.echo(as_json(world))
            return
        fresh = json.with_name(f"{json.name}.new")
        fresh.write_text(as_json(world), encoding="utf-8")
        fresh.replace(json)  # whoever waits for the file finds it whole

    async def run() -> None:
        await serve(options, announce, stop_on_signals())

    asyncio.run(run())


@app.command()
def audit(
    paths: Annotated[list[Path], typer.Argument(help="Audio, transcripts, or folders of them.")],
    config: Annotated[str | None, typer.Option(help="YAML or JSON file, or a shipped configuration.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask (OPENAI_MODEL_AUDIT).")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page.")] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Use the rule-based stand-in; needs no key.")
    ] = False,
) -> None:
    """Audit calls out of files, without CRM or database.

    Exits 0 when every call was audited to the end, 1 when a file was skipped or a step not analysed, 2 when nothing
    could be done.
    """
    from conforme.file_audit import Options, run

    options = Options(tuple(paths), config, model, as_json=json, html=html, sandbox=sandbox)
    raise typer.Exit(run(options, _configured()))


@app.command("compare-modes")
def compare_modes(
    fiches: Annotated[list[str] | None, typer.Argument(help="Fiches to audit in both modes.")] = None,
    random: Annotated[
        int, typer.Option("--random", help="So many transcribed fiches instead.", min=1, max=100)
    ] = 3,
    config: Annotated[str | None, typer.Option(help="Id or name; the newest active one without it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same random fiches.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Audit the same fiches in prompt mode and in tools mode, and show how the two differ."""
    from conforme.compare_modes import Options, run

    settings = _configured(log_level="warning")
    options = Options(tuple(fiches or ()), random, config, seed, as_json=json)
    _in_database(lambda database: run(options, settings, database))


@app.command()
def migrate() -> None:
    """Bring the database to the shape this version expects."""
    from conforme.process import migrated_database

    with migrated_database(_configured()):
        typer.echo("The database is up to date.")


@app.command("import-legacy")
def import_legacy(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="postgresql:// URL of the original's database; it is only read.",
            envvar="LEGACY_DATABASE_URL",
            show_default=False,
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come, write nothing.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare counts and samples with what was imported.")
    ] = False,
    only: Annotated[str | None, typer.Option("--only", help="Kinds, separated by commas.")] = None,
    batch: Annotated[int, typer.Option("--batch", help="Rows of a transaction.", min=1, max=5000)] = 100,
    json: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")] = None,
) -> None:
    """Take over the database of the original, in batches that can be cut off.

    Exits 0 when all rows came, 1 when some were set aside or differ, 2 when nothing could be done.
    """
    from pydantic import SecretStr

    from conforme.legacy.cli import Options, execute
    from conforme.process import migrated_database

    options = Options(SecretStr(source), only, batch, dry_run, verify, json)
    with migrated_database(_configured(log_level="warning")) as url:
        raise typer.Exit(execute(url, options))


@app.command()
def doctor() -> None:
    """Say what is configured, reachable and missing; exits 1 when the main job could not run."""
    from conforme.doctor import examine

    findings = examine(_configured())
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.ok else ("MISSING" if finding.needed else "note   ")
        typer.echo(f"{mark}  {finding.what:<{width}}  {finding.said}")
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(1)


@configs.command("import")
def config_import(file: Annotated[Path, typer.Argument(help="YAML or JSON file.")]) -> None:
    """Create the configuration of FILE, or make it the draft of the one with the same name."""
    from conforme.audit_configs import cli

    async def run(database: "Database") -> str:
        async with database.write() as session:
            done = await cli.import_file(session, file)
            return f"{'Created' if done.created else 'Updated'} configuration {done.id}: {done.name}"

    typer.echo(_in_database(run))


@configs.command("export")
def config_export(
    config: Annotated[str, typer.Argument(help="Id or name.")],
    kind: Annotated[FileFormat, typer.Option("--format", help="Format of the file.")] = FileFormat.YAML,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default standard output.")
    ] = None,
) -> None:
    """Write a configuration as a file that `import` takes back."""
    from conforme.audit_configs import cli

    async def run(database: "Database") -> str:
        async with database.read() as session:
            return await cli.export(session, config, kind.value)

    text = _in_database(run)
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        output.write_text(text, encoding="utf-8")


@configs.command("list")
def config_list() -> None:
    """List every configuration, newest first."""
    from conforme.audit_configs import cli

    async def run(database: "Database") -> list[cli.Listed]:
        async with database.read() as session:
            return await cli.listing(session)

    for each in _in_database(run):
        state = "active" if each.is_active else "inactive"
        typer.echo(f"{each.id:>4}  {each.name}  ({each.steps} steps, {each.revisions} revisions, {state})")


@people.command("create-admin")
def users_create_admin(
    email: Annotated[str, typer.Option("--email", help="E-mail to sign in with.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")
    ] = False,
) -> None:
    """Make an administrator, or make whoever has this e-mail one; asks for the password on the terminal."""
    from conforme.accounts import cli

    address = cli.checked_email(email)
    password = cli.checked_password(_password(from_stdin=password_stdin))

    async def run(database: "Database") -> cli.Made:
        async with database.write() as session:
            return await cli.create_admin(session, address, password)

    made = _in_database(run)
    typer.echo(f"{'Created' if made.created else 'Promoted'} administrator {made.user_id}")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(1000).rstrip("\r\n")
    if not sys.stdin.isatty():
        _fail("no terminal to ask for a password on; use --password-stdin", code=2)
    return typer.prompt("Password", hide_input=True, confirmation_prompt=True)


@people.command("list")
def users_list() -> None:
    """List everybody: id, status, e-mail, roles."""
    from conforme.accounts import cli

    async def run(database: "Database") -> list[cli.Account]:
        async with database.read() as session:
            return await cli.listing(session)

    for each in _in_database(run):
        typer.echo(f"{each.id:>4}  {each.status:<8}  {each.email}  ({', '.join(each.roles) or 'no role'})")


@changes.command("verify")
def audit_log_verify() -> None:
    """Check the chain of the audit log; exits 1 and names the first row that is missing or was changed."""
    from conforme.accounts import cli

    async def run(database: "Database") -> cli.Verdict:
        async with database.read() as session:
            return await cli.verdict(session)

    found = _in_database(run)
    typer.echo(cli.told(found))
    if found.broken_at is not None:
        raise typer.Exit(1)


async def seed_accounts(database: "Database", settings: "Settings") -> None:
    """Loads permissions and roles where they are missing, and the administrator whom the settings name."""
    from conforme.accounts.seeding import seed

    await seed(database, settings)


async def seed_configurations(database: "Database") -> None:
    """Loads the shipped configurations into a database that has none."""
    from conforme.audit_configs.shipped import seed

    async with database.write() as session:
        await seed(session)


def _in_database(work: "Callable[[Database], Awaitable[T]]") -> T:
    from conforme.process import migrated_database

    settings = load_settings()
    with migrated_database(settings) as url:
        return _with_database(url, work)


def _with_database(url: str, work: "Callable[[Database], Awaitable[T]]") -> T:
    from conforme.foundation.database import Database

    async def run() -> T:
        database = Database(url, pool_size=2)
        try:
            return await work(database)
        finally:
            await database.dispose()

    return asyncio.run(run())
