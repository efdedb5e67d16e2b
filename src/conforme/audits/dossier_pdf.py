"""The dossier of an audit as PDF, for whoever files it: text that can be searched, pages numbered. Pure.

Nothing in it depends on the moment it is made: one audit gives one file, byte for byte.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import font_roboto
from fpdf import FPDF
from fpdf.enums import WrapMode, XPos, YPos

from conforme.audits.dossier import Dossier
from conforme.audits.report import LABELS, visible

FONTS: Final = Path(font_roboto.font_directory)
FACE: Final = "Roboto"
INK, SOFT = (23, 32, 43), (86, 99, 116)
MARGIN: Final = 18
INDENT: Final = 6
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


class _Page(FPDF):
    """A4 in French, with the audit and the number of the page at its foot."""

    def __init__(self, foot: str) -> None:
        super().__init__(format="A4")
        self._foot = foot
        for style, name in (("", "Regular"), ("B", "Bold"), ("I", "Italic")):
            self.add_font(FACE, style, FONTS / f"Roboto-{name}.ttf")
        self.set_lang("fr")
        self.set_margins(MARGIN, MARGIN)
        self.set_auto_page_break(True, MARGIN)
        self.alias_nb_pages()

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font(FACE, "", 7)
        self.set_text_color(*SOFT)
        self.cell(0, 5, f"{self._foot} · page {self.page_no()}/{{nb}}", align="C")

    def line_of(
        self, text: Any, *, size: float = 9.5, style: str = "", soft: bool = False, indent: float = 0
    ) -> None:
        """A paragraph. Long words are broken: a hash, or whatever somebody wrote without blanks."""
        self.set_font(FACE, style, size)
        self.set_text_color(*(SOFT if soft else INK))
        self.set_x(MARGIN + indent)
        shown = _printable(str(visible(str(text))), self)
        self.multi_cell(
            0, size * 0.48, shown, align="L", wrapmode=WrapMode.WORD, new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )


def _printable(text: str, page: FPDF) -> str:
    """What the face has no letter for is shown by its number: nothing disappears."""
    letters: Mapping[int, Any] = page.fonts[FACE.lower()].cmap  # pyright: ignore[reportAttributeAccessIssue]
    return "".join(each if ord(each) in letters or each in "\n " else f"[U+{ord(each):04X}]" for each in text)


def pdf_of(dossier: Dossier) -> bytes:
    """The file."""
    content = dossier.content
    audit = content["audit"]
    page = _Page(f"Audit {audit['id']} · fiche {audit['fiche_id']} · SHA-256 {dossier.sha256}")
    page.set_title(f"Audit {audit['id']}")
    page.set_creator(content["basis"]["software"])
    page.set_creation_date(_made(content["basis"]))
    page.add_page()
    _head(page, content)
    for step in content["steps"]:
        _step(page, step)
    _basis(page, content, dossier.sha256)
    return bytes(page.output())


def _made(basis: Mapping[str, Any]) -> datetime:
    told = basis["completed_at"] or basis["requested_at"]
    return datetime.fromisoformat(told) if told else EPOCH


def _head(page: _Page, content: Mapping[str, Any]) -> None:
    audit, verdict = content["audit"], content["verdict"]
    page.line_of(f"Dossier d’audit {audit['id']}", size=16, style="B")
    about = [f"Fiche {audit['fiche_id']}", audit["prospect"], audit["groupe"], audit["agence"]]
    page.line_of(" · ".join(each for each in about if each), soft=True)
    page.ln(3)
    page.line_of(content["basis"]["configuration"], size=12, style="B")
    score = "—" if verdict["score"] is None else f"{_decimal(verdict['score'])} %"
    judged = {None: "—", True: "conforme", False: "non conforme"}[verdict["is_compliant"]]
    page.line_of(f"Niveau : {_label(verdict['niveau'])} · Score : {score} · Jugement : {judged}", style="B")
    page.line_of(f"Étapes critiques réussies : {verdict['critical']} · État : {audit['status']}")
    for text in _remarks(content):
        page.line_of(text, soft=True)


def _remarks(content: Mapping[str, Any]) -> list[str]:
    audit, unheard = content["audit"], content["calls"]["unheard"]
    told = [
        (audit["error"], audit["error"]),
        (audit["deleted_at"], f"Audit supprimé le {audit['deleted_at']}"),
        (not audit["is_latest"], "Un audit plus récent remplace celui-ci."),
        (unheard, f"Appels qui n’ont pas pu être entendus : {', '.join(map(str, unheard))}"),
        (audit["notes"], audit["notes"]),
    ]
    return [text for holds, text in told if holds]


def _step(page: _Page, step: Mapping[str, Any]) -> None:
    page.ln(4)
    page.line_of(f"{step['position']}. {step['name']}", size=11.5, style="B")
    page.line_of(_outcome(step), soft=True)
    if step["comment"]:
        page.line_of(step["comment"])
    for point in step["points"]:
        _point(page, point)
    for review in step["reviews"]:
        reason = f" — {review['reason']}" if review["reason"] else ""
        page.line_of(f"Revu le {review['at']} par {review['by'] or '—'}{_change(review)}{reason}", soft=True)
    for rerun in step["reruns"]:
        page.line_of(f"Réanalysé le {rerun['at']}{_change(rerun)}", soft=True)


def _outcome(step: Mapping[str, Any]) -> str:
    critical = "Étape critique · " if step["is_critical"] else ""
    if not step["analysed"]:
        return f"{critical}Non analysée : ni réussie ni manquée. {step['error'] or ''}".strip()
    if step["score"] is None:
        return f"{critical}Sans objet"
    return f"{critical}{_label(step['conforme'])} · {_decimal(step['score'])}/{step['weight']}"


def _change(trail: Mapping[str, Any]) -> str:
    point = f" (point {trail['point']})" if trail["point"] else ""
    return f"{point} : {trail['before'] or '—'} → {trail['after'] or '—'}"


def _point(page: _Page, point: Mapping[str, Any]) -> None:
    page.ln(1.5)
    page.line_of(
        f"{point['number']}. {point['point']} — {_label(point['statut'])}",
        style="B",
        size=9,
        indent=INDENT / 2,
    )
    if point["comment"]:
        page.line_of(point["comment"], size=9, indent=INDENT)
    for quote in point["quotes"]:
        page.line_of(f"« {quote['text']} »", style="I", size=9, indent=INDENT)
        page.line_of(_place(quote), soft=True, size=8, indent=INDENT)
    for quote in point["dropped"]:
        reason = _label(quote["reason"])
        page.line_of(f"Citation écartée ({reason}) : {quote['text']}", soft=True, size=8, indent=INDENT)


def _place(quote: Mapping[str, Any]) -> str:
    call = f"Appel {quote['call']}"
    call += f" du {quote['date']}" if quote["date"] else ""
    call += f" à {quote['time']}" if quote["time"] else ""
    times = " – ".join(each for each in (quote["from"], quote["to"]) if each)
    return " · ".join(each for each in (call, times, quote["speaker"]) if each)


def _basis(page: _Page, content: Mapping[str, Any], sha256: str) -> None:
    basis, audit, calls = content["basis"], content["audit"], content["calls"]
    page.ln(5)
    page.line_of("Ce sur quoi l’audit repose", size=11.5, style="B")
    for text in (
        f"Grille : {basis['configuration']}, révision {basis['revision']}, SHA-256 {basis['revision_sha256']}",
        f"Transcription : SHA-256 {basis['transcript_sha256'] or '—'}, {calls['recordings'] or 0} appel(s)",
        f"Modèle : {basis['model'] or '—'}, consigne {basis['prompt_version'] or '—'}",
        f"Demandé le {basis['requested_at']}",
        f"Commencé le {basis['started_at'] or '—'}, terminé le {basis['completed_at'] or '—'}",
        f"Audit {audit['tracking_id']}, version {audit['version']} · {basis['software']}",
        f"Empreinte de ce dossier : SHA-256 {sha256}",
    ):
        page.line_of(text, size=8.5)


def _label(value: str | None) -> str:
    return LABELS.get(value or "", value or "—")


def _decimal(value: str) -> str:
    return value.replace(".", ",")
