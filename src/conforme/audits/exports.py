"""Lists of audits as files: CSV and XLSX, written row by row to a file of the system's, which is then sent.

Nothing grows with the number of rows but the file: rows come in parts through a cursor of the server. What goes wrong
does so before the first byte of the answer, and a client that stops reading holds no connection of the database.
"""

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, TypeVar

from conforme.accounts.actor import Actor
from conforme.audit_configs.models import AuditConfig
from conforme.audits.filters import Filters
from conforme.audits.list_queries import streamed
from conforme.audits.models import AuditRow
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database
from conforme.foundation.errors import Invalid, TooMany, Unavailable
from conforme.foundation.web import decimal_text, iso

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

COLUMNS: Final[Sequence[tuple[str, Any]]] = (
    ("id", AuditRow.id),
    ("tracking_id", AuditRow.tracking_id),
    ("fiche_id", AuditRow.fiche_id),
    ("groupe", FicheCache.groupe),
    ("agence_nom", FicheCache.agence_nom),
    ("prospect_nom", FicheCache.prospect_nom),
    ("prospect_prenom", FicheCache.prospect_prenom),
    ("sales_date", FicheCache.sales_date),
    ("audit_config_id", AuditRow.audit_config_id),
    ("audit_config_name", AuditConfig.name),
    ("version", AuditRow.version),
    ("is_latest", AuditRow.is_latest),
    ("status", AuditRow.status),
    ("niveau", AuditRow.niveau),
    ("is_compliant", AuditRow.is_compliant),
    ("score_percentage", AuditRow.score_percentage),
    ("critical_passed", AuditRow.critical_passed),
    ("critical_total", AuditRow.critical_total),
    ("successful_steps", AuditRow.successful_steps),
    ("failed_steps", AuditRow.failed_steps),
    ("recordings_count", AuditRow.recordings_count),
    ("total_tokens", AuditRow.total_tokens),
    ("duration_ms", AuditRow.duration_ms),
    ("trigger_source", AuditRow.trigger_source),
    ("created_at", AuditRow.created_at),
    ("started_at", AuditRow.started_at),
    ("completed_at", AuditRow.completed_at),
    ("deleted_at", AuditRow.deleted_at),
    ("error_message", AuditRow.error_message),
    ("notes", AuditRow.notes),
)
NAMES: Final = tuple(name for name, _ in COLUMNS)

AT_ONCE: Final = 2
"""Files that one process writes at once."""
PATIENCE_SECONDS: Final = 300.0
MAX_SHEET_ROWS: Final = 1_048_576
MAX_CELL: Final = 32_767
CHUNK: Final = 1 << 16
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

Cell = str | int | Decimal | bool | None
Row = Sequence[Any]
T = TypeVar("T")


def neutral(text: str) -> str:
    """Text that no spreadsheet takes for a formula (OWASP, CSV injection), whatever blanks it begins with."""
    suspicious = text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS)
    return f"'{text}" if suspicious else text


def cell(value: Any) -> Cell:
    """A value as a file shows it: times as on the wire."""
    return iso(value) if isinstance(value, datetime) else value


def csv_text(value: Any) -> str:
    """The same as text: numbers without exponent, `true` and `false`, nothing for null."""
    match cell(value):
        case None:
            return ""
        case bool() as flag:
            return "true" if flag else "false"
        case Decimal() as amount:
            return decimal_text(amount) or ""
        case str() as text:
            return neutral(text)
        case whole:
            return str(whole)


class Book(Protocol):
    """A file that rows are written to."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None:
        """Takes away what it keeps elsewhere than in the file, whether it was closed or not."""
        ...


class CsvBook:
    """RFC 4180, UTF-8, with a line of names."""

    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
        self._rows = csv.writer(self._text)
        self._rows.writerow(NAMES)

    def write(self, rows: Sequence[Row]) -> None:
        self._rows.writerows([csv_text(value) for value in row] for row in rows)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()

    def discard(self) -> None:
        """Nothing is left elsewhere."""


class XlsxBook:
    """One sheet, written from top to bottom; text is text, whatever it looks like."""

    def __init__(self, file: IO[bytes]) -> None:
        import xlsxwriter

        # Where the library keeps its rows until the end: they go with it, however it ends.
        self._folder = tempfile.TemporaryDirectory(prefix="conforme-export-")
        options = {
            "tmpdir": self._folder.name,
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
        }
        self._book = xlsxwriter.Workbook(file, options)
        self._sheet: Worksheet = self._book.add_worksheet("audits")
        self._sheet.freeze_panes(1, 0)
        self._sheet.set_column(0, len(NAMES) - 1, 16)
        self._next = 0
        self._sheet.write_row(0, 0, NAMES, self._book.add_format({"bold": True}))

    def write(self, rows: Sequence[Row]) -> None:
        """Raises `Invalid` when the sheet is full."""
        for row in rows:
            self._next += 1
            if self._next >= MAX_SHEET_ROWS:
                raise Invalid(f"A sheet holds {MAX_SHEET_ROWS} rows: narrow the list, or export it as CSV")
            for place, value in enumerate(row):
                self._put(place, cell(value))

    def _put(self, place: int, value: Cell) -> None:
        match value:
            case None:
                return
            case bool():
                self._sheet.write_boolean(self._next, place, value)
            case str():
                self._sheet.write_string(self._next, place, neutral(value)[:MAX_CELL])
            # Beyond 2**53 a spreadsheet rounds: ids are told apart as text.
            case int() if abs(value) > 2**53:
                self._sheet.write_string(self._next, place, str(value))
            case _:
                self._sheet.write_number(self._next, place, float(value))

    def close(self) -> None:
        self._book.close()

    def discard(self) -> None:
        if (held := self._sheet.row_data_fh) is not None:
            held.close()
        self._folder.cleanup()


class _Turns:
    """How many files this process writes now."""

    taken = 0


@contextmanager
def turn() -> Generator[None]:
    """One of the places for exports.

    Raises:
        TooMany: all are taken.
    """
    if _Turns.taken >= AT_ONCE:
        raise TooMany("Too many exports at once; try again later", retry_after=10)
    _Turns.taken += 1
    try:
        yield
    finally:
        _Turns.taken -= 1


async def written(
    database: Database, actor: Actor, filters: Filters, book: Callable[[IO[bytes]], Book]
) -> IO[bytes]:
    """A nameless file that holds every audit that matches, ready to be read; it is gone once it is closed.

    Raises:
        TooMany: others are being written. Unavailable: it takes too long. Invalid: a sheet cannot hold it.
    """
    with turn():
        file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 -- closed by who sends it
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await _fill(database, actor, filters, lambda: book(file))
        except TimeoutError:
            file.close()
            raise Unavailable("The export takes too long; narrow the list") from None
        except BaseException:
            file.close()
            raise
    return file


async def _fill(database: Database, actor: Actor, filters: Filters, open_book: Callable[[], Book]) -> None:
    opened: list[Book] = []
    try:
        await _apart(lambda: opened.append(open_book()))
        async with database.read() as session:
            async for rows in streamed(session, actor, filters, [column for _, column in COLUMNS]):
                await _apart(partial(opened[0].write, rows))
        await _apart(opened[0].close)
    finally:
        for book in opened:
            book.discard()


async def _apart(call: Callable[[], T]) -> T:
    """What it gives, in a thread of its own. Whoever is cancelled meanwhile goes on once the thread has let go."""
    work = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # A thread cannot be stopped: what it writes to may be closed only when it has ended, however often one is told.
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # nobody will ask for it
        raise


async def chunks(file: IO[bytes]) -> AsyncGenerator[bytes]:
    """The file from its beginning; closed at the end."""
    with file:
        file.seek(0)
        while part := await _apart(partial(file.read, CHUNK)):
            yield part
