"""Transcripts written for people: WebVTT and SRT captions, and plain text with speaker labels. Pure.

A colon does not make a label: « Le prix : 41 euros » is spoken. Before a colon stands a speaker when it names a role
(`Conseiller`, `Customer`), numbers a voice (`Speaker 1`), or is a name that the file repeats, most of its lines
beginning so.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from conforme.transcriptions.heard import role_of, speaker_of, spoken
from conforme.transcriptions.words import Word

_LABEL: Final = re.compile(r"\s*(?:[-–—]\s*)?([^\s:][^:\n]{0,39}?)\s{0,3}:(.*)", re.DOTALL)
_NUMBERED: Final = re.compile(
    r"(?:speaker|spk|locuteur|locutrice|intervenante?|interlocuteur|interlocutrice|participante?|voix|voice"
    r"|channel|ch|canal)[ _-]?(?:\d{1,3}|[a-z])"
)
_NUMBER_AT_END: Final = re.compile(r"[ _-]?\d{1,3}$")
_CLOCK: Final = re.compile(r"(?:(\d{1,4}):)?(\d{1,3}):(\d{1,2})(?:[.,](\d{1,6}))?")
_STAMP: Final = re.compile(r"\s*[\[(](\d[\d:.,]{3,15})[\])]\s*(.*)", re.DOTALL)
_TIMING: Final = re.compile(r"\s*(\S{1,40}?)\s*-->\s*(\S{1,40})(?:\s.*)?")
_VOICE: Final = re.compile(r"<v(?:\.[^ \t<>]{0,80})?[ \t]+([^<>]{1,80})>|</v>")
_MARKUP: Final = re.compile(
    r"</?(?:c|i|b|u|s|v|ruby|rt|lang|font)(?:[.\s][^<>]{0,200})?>|<\d[\d:.]{3,14}>", re.IGNORECASE
)
_MOST_LABEL_WORDS: Final = 4
_NO_NAME: Final = frozenset(',;!?…«»"/\\<>[]{}')


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of text, with the label it may begin with."""

    text: str
    label: str = ""
    rest: str = ""


def _line(text: str) -> _Line:
    found = _LABEL.fullmatch(text)
    if found is None or not _may_name(found[1]):
        return _Line(text)
    apart = not found[2] or found[2][0].isspace()
    return _Line(text, found[1], found[2]) if apart or _names_a_voice(found[1]) else _Line(text)


def _may_name(label: str) -> bool:
    """A few words without the marks of a sentence or an address."""
    return label[0].isalpha() and len(label.split()) <= _MOST_LABEL_WORDS and _NO_NAME.isdisjoint(label)


def _labels(lines: Iterable[_Line]) -> frozenset[str]:
    """Which of the labels of a text are speakers."""
    seen = Counter(line.label for line in lines if line.text.strip())
    labelled = seen.total() - seen[""]
    mostly = 2 * labelled >= seen.total()
    return frozenset(
        label
        for label, times in seen.items()
        if label
        and (_names_a_voice(label) or (mostly and label[0].isupper() and (times > 1 or not seen[""])))
    )


def _names_a_voice(label: str) -> bool:
    plain = label.lower()
    return role_of(_NUMBER_AT_END.sub("", plain)) is not None or _NUMBERED.fullmatch(plain) is not None


# Plain text


def text_words(text: str) -> Iterator[Word]:
    """Lines `Label: words`, with a clock `[12:34]` before it or not.

    A line without a label goes on with the speaker before; without a clock, its time is unknown.
    """
    stamped = [_stamped(line) for line in text.splitlines()]
    lines = [_line(said) for _, said in stamped]
    names = _labels(lines)
    current: str | None = None
    for (start, _), line in zip(stamped, lines, strict=True):
        current, said = _spoken_by(line, names, current)
        yield from spoken(said, current, start)


def _stamped(line: str) -> tuple[float | None, str]:
    found = _STAMP.fullmatch(line)
    start = clock(found[1]) if found else None
    return (start, found[2]) if found and start is not None else (None, line)


def _spoken_by(line: _Line, names: frozenset[str], current: str | None) -> tuple[str | None, str]:
    return (speaker_of(line.label), line.rest) if line.label in names else (current, line.text)


def clock(text: str) -> float | None:
    """Seconds of `mm:ss`, `hh:mm:ss`, with a fraction or not; `None` for anything else."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hours, minutes, whole, fraction = found.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{fraction or 0}")


# Captions


@dataclass(frozen=True, slots=True)
class _Cue:
    start: float | None
    end: float | None
    lines: tuple[str, ...]


def caption_words(text: str, *, webvtt: bool) -> Iterator[Word]:
    """The words of the cues, each with the span of its cue.

    A voice is a `<v Name>` of WebVTT or a label before a colon. A label holds until the next one, a `<v>` to the end
    of its cue.
    """
    cues = list(_cues(_lines_of(text), webvtt=webvtt))
    names = _labels(_line(_clean(line, webvtt=webvtt)) for cue in cues for line in cue.lines)
    current: str | None = None
    for cue in cues:
        payload = "\n".join(cue.lines)
        if _VOICE.search(payload):
            for speaker, said in _voices(payload):
                yield from spoken(_clean(said, webvtt=webvtt), speaker, cue.start, cue.end)
            continue
        for line in cue.lines:
            current, said = _spoken_by(_line(_clean(line, webvtt=webvtt)), names, current)
            yield from spoken(said, current, cue.start, cue.end)


def _clean(text: str, *, webvtt: bool) -> str:
    """Text without markup; WebVTT also escapes characters."""
    bare = _MARKUP.sub("", text)
    return html.unescape(bare) if webvtt else bare


def _lines_of(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _cues(lines: Sequence[str], *, webvtt: bool) -> Iterator[_Cue]:
    """A cue runs from its timing line to the next one's; in WebVTT a blank line ends it (notes may follow)."""
    timings = [(at, found) for at, line in enumerate(lines) if (found := _TIMING.fullmatch(line))]
    ends = [*(at for at, _ in timings), len(lines)][1:]
    for number, ((at, found), end) in enumerate(zip(timings, ends, strict=True), 1):
        payload = [line.strip() for line in lines[at + 1 : end]]
        if webvtt and "" in payload:
            payload = payload[: payload.index("")]
        elif end < len(lines) and _ends_with_number(payload, number + 1):
            payload.pop()
        yield _Cue(clock(found[1]), clock(found[2]), tuple(payload))


def _ends_with_number(payload: Sequence[str], following: int) -> bool:
    """Whether the last line is the next cue's number: it is, or it stands alone behind a blank line."""
    last = payload[-1] if payload else ""
    return last == str(following) or (last.isdigit() and payload[-2:-1] == [""])


def _voices(payload: str) -> Iterator[tuple[str | None, str]]:
    """The stretches of a cue with the name in the `<v>` before them; nobody's before the first and after `</v>`."""
    pieces = _VOICE.split(payload)
    yield None, pieces[0]
    for name, said in zip(pieces[1::2], pieces[2::2], strict=True):
        yield speaker_of(html.unescape(name)) if name else None, said
