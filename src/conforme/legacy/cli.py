"""`conforme import-legacy`: what the command does once it has its options."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import SQLAlchemyError

from conforme.foundation.database import Database
from conforme.foundation.errors import ConformeError, Invalid
from conforme.legacy.importing import Step, Wish, kinds_named, run
from conforme.legacy.layout import BY_NAME, KINDS, Kind
from conforme.legacy.report import Report, show
from conforme.legacy.source import opened
from conforme.legacy.verify import verify

ALL_CAME, SOME_SET_ASIDE, NOTHING_DONE = 0, 1, 2
POOL: Final = 2


@dataclass(frozen=True, slots=True)
class Options:
    url: SecretStr
    only: str | None = None
    batch: int = 100
    dry_run: bool = False
    verify: bool = False
    json_file: Path | None = None

    def kinds(self) -> tuple[Kind, ...]:
        """Raises `Invalid` for a kind that does not exist."""
        if self.only is None:
            return KINDS
        names = [name.strip() for name in self.only.split(",") if name.strip()]
        strangers = [name for name in names if name not in BY_NAME]
        if strangers or not names:
            raise Invalid(f"--only takes {', '.join(BY_NAME)}", field="only")
        return kinds_named(names)


def execute(database_url: str, options: Options) -> int:
    """Imports or verifies, shows the report, and says how it went by its exit code."""
    errors = Console(stderr=True)
    try:
        report = asyncio.run(_execute(database_url, options, errors))
    except ConformeError as error:
        errors.print(f"conforme: {error.message}", highlight=False, markup=False)
        return NOTHING_DONE
    except SQLAlchemyError as error:
        # Its text quotes rows, with the people in them.
        errors.print(f"conforme: The database of Conforme failed ({type(error).__name__})", highlight=False)
        return NOTHING_DONE
    show(report, Console())
    if options.json_file is not None:
        text = json.dumps(report.as_json(), ensure_ascii=False, indent=2)
        options.json_file.write_text(f"{text}\n", encoding="utf-8")
    return ALL_CAME if report.clean else SOME_SET_ASIDE


async def _execute(database_url: str, options: Options, console: Console) -> Report:
    kinds = options.kinds()
    database = Database(database_url, pool_size=POOL)
    try:
        async with opened(options.url) as source:
            with Bars(console) as bars:
                if options.verify:
                    return await verify(database, source, kinds, bars.tell)
                return await run(database, source, Wish(kinds, options.batch, options.dry_run), bars.tell)
    finally:
        await database.dispose()


class Bars:
    """How far each kind is, on the terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def tell(self, step: Step) -> None:
        if step.kind not in self._tasks:
            self._tasks[step.kind] = self._progress.add_task(step.kind, total=step.total)
        self._progress.update(self._tasks[step.kind], completed=step.done, total=step.total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
