"""Lists as files and one audit as a dossier: what they hold, that they run no formula, that they stay small in memory."""

import asyncio
import csv
import io
import os
import re
import tempfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from audit_rows import audit, configured, fiche, step
from conforme.accounts.actor import Actor
from conforme.accounts.grants import Scope
from conforme.audits import exports
from conforme.audits.dossier import Dossier, dossier_of
from conforme.audits.dossier_pdf import pdf_of
from conforme.audits.filters import Filters
from conforme.foundation.database import Database
from conforme.foundation.errors import Invalid, TooMany
from people import everything_within, signed_in
from product_fixtures import SETTINGS

FORMULA = '=HYPERLINK("https://evil.example.test")'


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _sheet(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        return book.read("xl/worksheets/sheet1.xml").decode()


def _texts(content: bytes) -> list[str]:
    return re.findall(r"<t[^>]*>(.*?)</t>", _sheet(content), re.DOTALL)


async def test_an_export_holds_every_audit_of_the_list_in_its_order(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        for number in range(7):
            await audit(
                session, pinned, number, niveau="BON" if number % 2 else "REJET", notes="« Réglé »; oui"
            )
    query = "niveau=BON&sort_order=asc&limit=1"
    answer = await api.get(f"/api/audits/export.csv?{query}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(
        r'attachment; filename="audits-[0-9-]{10}\.csv"', answer.headers["content-disposition"]
    )
    assert int(answer.headers["content-length"]) == len(answer.content)
    rows = _rows(answer.text)
    assert [row["fiche_id"] for row in rows] == ["900001", "900003", "900005"]
    assert rows[0] | {"created_at": "", "id": ""} == dict.fromkeys(exports.NAMES, "") | {
        "tracking_id": f"audit-900001-{pinned.config_id}-1",
        "fiche_id": "900001",
        "groupe": "EQUIPE R1",
        "agence_nom": "1-LYON",
        "prospect_nom": "MARTEL",
        "prospect_prenom": "Odile",
        "audit_config_id": str(pinned.config_id),
        "audit_config_name": "Grille d'essai",
        "version": "1",
        "is_latest": "true",
        "status": "completed",
        "niveau": "BON",
        "is_compliant": "true",
        "score_percentage": "85.5",
        "critical_passed": "0",
        "critical_total": "0",
        "trigger_source": "api",
        "notes": "« Réglé »; oui",
    }
    book = await api.get(f"/api/audits/export.xlsx?{query}")
    assert book.headers["content-type"] == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    texts = _texts(book.content)
    assert texts[: len(exports.NAMES)] == list(exports.NAMES)
    assert [text for text in texts if text.startswith("9000")] == ["900001", "900003", "900005"]
    assert "<v>85.5</v>" in _sheet(book.content)
    assert "odile@example.test" not in answer.text + _sheet(book.content)


@pytest.mark.attack("filter override")
async def test_an_export_holds_nothing_out_of_scope(api: httpx2.AsyncClient, database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        await audit(session, pinned, 1)
        other = await fiche(session, "2", "EQUIPE R2")
        await audit(session, pinned, 2, fiche_id="2", fiche_cache_id=other)
    caller = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R2"])
    for query in ("", "?groupes=EQUIPE R1", "?groupe_query=EQUIPE", "?latest_only=false"):
        text = (await api.get(f"/api/audits/export.csv{query}", headers=caller.headers)).text
        book = (await api.get(f"/api/audits/export.xlsx{query}", headers=caller.headers)).content
        assert "EQUIPE R1" not in text + _sheet(book)
    assert "EQUIPE R2" in (await api.get("/api/audits/export.csv", headers=caller.headers)).text


@pytest.mark.attack("formula injection")
async def test_no_text_of_a_list_is_run_by_a_spreadsheet(api: httpx2.AsyncClient, database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await fiche(session, "1", prospect_nom=FORMULA, prospect_prenom="-1+1")
        await audit(
            session, pinned, 1, fiche_id="1", fiche_cache_id=cache_id, notes=" \t@SUM(A1)", error_message="+1"
        )
    [row] = _rows((await api.get("/api/audits/export.csv")).text)
    shown = [row[name] for name in ("prospect_nom", "prospect_prenom", "notes", "error_message")]
    assert shown == [f"'{FORMULA}", "'-1+1", "' \t@SUM(A1)", "'+1"]
    book = (await api.get("/api/audits/export.xlsx")).content
    assert "<f>" not in _sheet(book)
    assert "hyperlink" not in _sheet(book).lower().replace("hyperlink(&quot;", "").replace('hyperlink("', "")


@given(st.text())
@pytest.mark.attack("formula injection")
def test_text_that_begins_like_a_formula_is_marked_and_other_text_is_left(text: str) -> None:
    shown = exports.neutral(text)
    assert shown.removeprefix("'") == text.removeprefix("'")
    assert shown.lstrip()[:1] not in {"=", "+", "-", "@", "＝", "＋", "－", "＠"}
    assert shown[:1] not in {"\t", "\r", "\n"}


class _Measured:
    """A book that only counts."""

    def __init__(self, file: IO[bytes]) -> None:
        self.largest = self.rows = 0

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self.largest, self.rows = max(self.largest, len(rows)), self.rows + len(rows)

    def close(self) -> None:
        return

    def discard(self) -> None:
        return


async def test_rows_come_in_parts_that_do_not_grow(
    api: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conforme.audits.list_queries.STREAMED_ROWS", 4)
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await fiche(session, "1")
        for number in range(11):
            await audit(session, pinned, number, fiche_cache_id=cache_id)
    books: list[_Measured] = []

    def book(file: IO[bytes]) -> _Measured:
        books.append(_Measured(file))
        return books[0]

    with await exports.written(database, Actor.system("test"), Filters(), book):
        assert (books[0].rows, books[0].largest) == (11, 4)


@pytest.mark.parametrize("kind", [exports.CsvBook, exports.XlsxBook])
def test_a_book_keeps_no_row_in_memory(kind: type[exports.CsvBook | exports.XlsxBook], tmp_path: Any) -> None:
    peaks: list[int] = []
    for parts in (2, 20):
        with (tmp_path / str(parts)).open("w+b") as file:
            book = kind(file)
            book.write([["x" * 50] * len(exports.NAMES)])
            tracemalloc.start()
            for number in range(parts):
                book.write([[f"{number} {row}"] * len(exports.NAMES) for row in range(100)])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            book.close()
            book.discard()
    assert peaks[1] < 1.5 * peaks[0] + 100_000


async def test_an_export_that_breaks_off_leaves_nothing_behind(
    api: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The library keeps its rows in a file until the end; names of people stand in it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(exports, "MAX_SHEET_ROWS", 2)
    pinned = await configured(database)
    async with database.write() as session:
        for number in range(3):
            await audit(session, pinned, number)
    assert (await api.get("/api/audits/export.xlsx")).status_code == 400
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- one call, of a folder of the test


class _Slow(exports.CsvBook):
    """A book that is still being written when the time is up."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.file = file
        self.began, self.goes_on = threading.Event(), threading.Event()
        self.said: list[str] = []

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self.began.set()
        self.goes_on.wait(30)
        super().write(rows)
        self.said.append("closed while written" if self.file.closed else "written")

    def discard(self) -> None:
        self.said.append("discarded")


async def test_what_is_still_being_written_when_time_is_up_is_closed_once_it_is_let_go(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """A thread cannot be stopped: the file and the place among exports are its until it ends."""
    pinned = await configured(database)
    async with database.write() as session:
        await audit(session, pinned, 1)
    books: list[_Slow] = []

    def book(file: IO[bytes]) -> _Slow:
        books.append(_Slow(file))
        return books[0]

    asked = asyncio.create_task(exports.written(database, Actor.system("test"), Filters(), book))
    while not books:  # noqa: ASYNC110 -- made by a thread
        await asyncio.sleep(0.01)
    await asyncio.to_thread(books[0].began.wait, 30)
    for _ in range(2):  # whoever serves a request that was left cancels it over and over
        asked.cancel()
        ended, _ = await asyncio.wait([asked], timeout=0.1)
        assert not ended
    with exports.turn(), pytest.raises(TooMany), exports.turn():
        pass
    books[0].goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert books[0].said == ["written", "discarded"]
    assert books[0].file.closed
    with exports.turn(), exports.turn():
        pass


async def test_more_exports_at_once_than_there_are_places_wait_their_turn(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with exports.turn(), exports.turn():
        with pytest.raises(TooMany), exports.turn():
            pass
        refused = await api.get("/api/audits/export.csv")
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    assert refused.headers["retry-after"] == "10"
    assert (await api.get("/api/audits/export.csv")).status_code == 200


def test_a_sheet_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_SHEET_ROWS", 3)
    book = exports.XlsxBook(io.BytesIO())
    book.write([[1], [2]])
    with pytest.raises(Invalid, match="export it as CSV"):
        book.write([[3]])
    book.close()
    book.discard()


# One audit


@pytest.fixture
async def audited(api: httpx2.AsyncClient, database: Database) -> int:
    pinned = await configured(database, "Grille « santé »")
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    async with database.write() as session:
        cache_id = await fiche(session, "1", prospect_nom="<b>ŁUKASZ</b>", prospect_prenom="Anaïs")
        audit_id = await audit(
            session,
            pinned,
            1,
            fiche_id="1",
            fiche_cache_id=cache_id,
            model="sandbox-model",
            prompt_version="p1",
            created_at=at,
            completed_at=at,
            critical_passed=1,
            critical_total=2,
        )
        await step(session, audit_id, 1)
    return audit_id


async def test_a_dossier_says_what_was_judged_on_which_words_by_which_rules(
    api: httpx2.AsyncClient, database: Database, audited: int
) -> None:
    answer = await api.get(f"/api/audits/{audited}/dossier.html")
    page = answer.text
    assert answer.headers["cache-control"] == "no-store"
    for told in (
        "Grille « santé »",
        "85,5 %",
        "Étapes critiques réussies",
        "1/2",
        "Le conseiller se présente.",
        "Présent",
        "je suis votre conseiller",
        "Appel 1 du 05/01/2026 à 08:14 · 00:03.2 – 00:04.1",
        "révision 1",
        "sandbox-model",
        "&lt;b&gt;ŁUKASZ&lt;/b&gt;",
    ):
        assert told in page, told
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert len(set(re.findall(r"SHA-256 ([0-9a-f]{64})", page))) == 2


async def test_a_dossier_as_pdf_is_text_with_its_accents_and_the_same_every_time(
    api: httpx2.AsyncClient, database: Database, audited: int
) -> None:
    answer = await api.get(f"/api/audits/{audited}/dossier.pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert (await api.get(f"/api/audits/{audited}/dossier.pdf")).content == answer.content
    letters = _letters(answer.content)
    assert {"É", "é", "è", "«", "»", "’", "Ł", "ï", "–"} <= letters


def _letters(pdf: bytes) -> set[str]:
    """What the fonts of a PDF say their glyphs stand for: what a reader finds and copies."""
    found: set[str] = set()
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            text = zlib.decompress(stream).decode("latin-1")
        except zlib.error:
            text = stream.decode("latin-1")
        if "begincmap" in text:
            found |= {chr(int(code, 16)) for code in re.findall(r"> <([0-9A-Fa-f]{4})>", text)}
    return found


async def test_what_an_audit_could_not_analyse_and_what_nobody_said_stand_in_its_dossier(
    api: httpx2.AsyncClient, database: Database, audited: int
) -> None:
    async with database.read() as session:
        known = await dossier_of(session, Actor.system("test"), audited)
    content: dict[str, Any] = dict(known.content)
    step_of = dict(content["steps"][0])
    missing = step_of | {"analysed": False, "error": "Le modèle n’a pas répondu", "points": []}
    point = step_of["points"][0] | {"dropped": [{"text": "jamais dit 日本", "reason": "not_found"}]}
    content["steps"] = [step_of | {"points": [point]}, missing]
    content["audit"] = content["audit"] | {"is_latest": False, "notes": "x" * 3000}
    pdf = pdf_of(Dossier(content, known.sha256))
    assert pdf.count(b"/Type /Page\n") >= 1
    assert "[" in _letters(pdf)  # letters that the face lacks are shown by number


async def test_a_dossier_of_nothing_is_not_found(api: httpx2.AsyncClient) -> None:
    for ending in ("html", "pdf"):
        answer = await api.get(f"/api/audits/5/dossier.{ending}")
        assert (answer.status_code, answer.json()["error"]) == (404, "Audit not found")


@pytest.mark.attack("horizontal access")
async def test_a_dossier_is_for_who_sees_the_fiche(
    api: httpx2.AsyncClient, api_app: FastAPI, database: Database, audited: int
) -> None:
    caller = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R2"])
    for ending in ("html", "pdf"):
        answer = await api.get(f"/api/audits/{audited}/dossier.{ending}", headers=caller.headers)
        assert answer.status_code == 404
