"""Words, turns and chunks of a transcript: pure functions, no I/O.

A *word* is what the recogniser heard, with its time. A *turn* is a run of words of one speaker. A *chunk* is ten
turns, the unit stored and shown (spec/audits §4). Nothing here is invented: what the input does not say is `None`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import exp
from typing import Any, Final

UNKNOWN_SPEAKER: Final = "unknown"
"""How a speaker nobody named is written where a label is mandatory (spec/audits §4)."""

TURNS_PER_CHUNK: Final = 10
LONGEST_RECORDING_SECONDS: Final = 1_000_000.0
"""Times beyond this, negative ones and infinities are taken for unknown: no call lasts eleven days."""

_PACKED_VERSION: Final = 1
_UNKNOWN_TIME: Final = "-"


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; times in seconds from the start of the recording."""

    text: str
    start: float | None
    end: float | None
    speaker: str | None
    confidence: float | None = None
    """How sure the recogniser was of it, from 0 to 1; `None` where it did not say."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Consecutive words of one speaker; `first` and `last` are word indices, both inclusive.

    `start` is the first time known among its words, `end` the last one.
    """

    speaker: str | None
    first: int
    last: int
    text: str
    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Up to ten turns; `first_turn` and `last_turn` are turn indices, both inclusive.

    `full_text` has one `<speaker>: <text>` line per turn; `speakers` are distinct, in order of first appearance.
    """

    chunk_index: int
    start: float | None
    end: float | None
    message_count: int
    speakers: tuple[str, ...]
    full_text: str
    first_turn: int
    last_turn: int


def one_line(text: str) -> str:
    """The text on one line, without the characters PostgreSQL cannot store (NUL, lone surrogates).

    One line, because a line break inside a word could forge another speaker's line in a chunk.
    """
    storable = text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
    return " ".join(storable.split())


def seconds(value: object) -> float | None:
    """A time in seconds, or `None` when the value is not a plausible one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A comparison, unlike `isfinite`, also takes whole numbers too large for a float.
    return float(value) if 0 <= value <= LONGEST_RECORDING_SECONDS else None


def share(value: object) -> float | None:
    """A share of 1, or `None` when the value is none."""
    known = seconds(value)
    return known if known is not None and known <= 1 else None


def share_of_log(value: object) -> float | None:
    """The probability that a natural logarithm stands for, or `None` when the value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 0:
        return None
    return exp(max(value, -700))


def word(
    text: str,
    start: object = None,
    end: object = None,
    speaker: str | None = None,
    confidence: object = None,
) -> Word | None:
    """A clean word, or `None` when nothing of its text can be read."""
    shown, name = one_line(text), one_line(speaker or "") or None
    return Word(shown, seconds(start), seconds(end), name, share(confidence)) if shown else None


def clean(words: Iterable[Word]) -> tuple[Word, ...]:
    """The same words, each passed through `word`; blank ones are gone."""
    passed = (word(each.text, each.start, each.end, each.speaker, each.confidence) for each in words)
    return tuple(each for each in passed if each is not None)


def from_entries(entries: object) -> tuple[Word, ...]:
    """Words of a provider's list `{text, start, end, type, speaker_id?, logprob?}` (spec/fiches §4).

    `spacing` entries and malformed ones are dropped.
    """
    return tuple(_entry_words(entries)) if isinstance(entries, list) else ()


def _entry_words(entries: Iterable[object]) -> Iterator[Word]:
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("type") == "spacing":
            continue
        text, speaker = entry.get("text"), entry.get("speaker_id")
        if isinstance(text, str):
            named = speaker if isinstance(speaker, str) else None
            sure = share_of_log(entry.get("logprob"))
            made = word(text, entry.get("start"), entry.get("end"), named, sure)
            if made is not None:
                yield made


def from_text(text: str, speaker: str | None = None) -> tuple[Word, ...]:
    """The words of plain text; their times are not known."""
    spoken = (word(each, speaker=speaker) for each in text.split())
    return tuple(each for each in spoken if each is not None)


def from_lines(text: str, speakers: Collection[str]) -> tuple[Word, ...]:
    """The words of a chunk's `full_text`; a line that begins with none of `speakers` goes on with the last one."""
    return tuple(_line_words(text.split("\n"), speakers))


def _line_words(lines: Iterable[str], speakers: Collection[str]) -> Iterator[Word]:
    current: str | None = None
    for line in lines:
        label = max((name for name in speakers if line.startswith(f"{name}: ")), key=len, default=None)
        if label is not None:
            current = None if label == UNKNOWN_SPEAKER else label
        yield from from_text(line if label is None else line[len(label) + 2 :], current)


def turns_of(words: Sequence[Word]) -> tuple[Turn, ...]:
    """Runs of consecutive words of one speaker, their texts joined by a space."""
    runs = groupby(range(len(words)), key=lambda index: words[index].speaker)
    return tuple(_turn(words, tuple(indices)) for _, indices in runs)


def _turn(words: Sequence[Word], indices: Sequence[int]) -> Turn:
    first, last = indices[0], indices[-1]
    spoken = words[first : last + 1]
    return Turn(
        speaker=spoken[0].speaker,
        first=first,
        last=last,
        text=" ".join(each.text for each in spoken),
        start=_first_known(each.start for each in spoken),
        end=_first_known(each.end for each in reversed(spoken)),
    )


def chunks_of(turns: Sequence[Turn], size: int = TURNS_PER_CHUNK) -> tuple[Chunk, ...]:
    """Groups of `size` turns, in order (spec/audits §4)."""
    return tuple(
        _chunk(index, first, turns[first : first + size])
        for index, first in enumerate(range(0, len(turns), size))
    )


def _chunk(index: int, first: int, turns: Sequence[Turn]) -> Chunk:
    labels = [turn.speaker or UNKNOWN_SPEAKER for turn in turns]
    return Chunk(
        chunk_index=index,
        start=_first_known(turn.start for turn in turns),
        end=_first_known(turn.end for turn in reversed(turns)),
        message_count=len(turns),
        speakers=tuple(dict.fromkeys(labels)),
        full_text="\n".join(f"{label}: {turn.text}" for label, turn in zip(labels, turns, strict=True)),
        first_turn=first,
        last_turn=first + len(turns) - 1,
    )


def _first_known(times: Iterable[float | None]) -> float | None:
    return next((time for time in times if time is not None), None)


def pack(words: Iterable[Word]) -> dict[str, Any]:
    """A compact JSON value of the cleaned words, times rounded to the millisecond.

    Columns instead of objects: texts one per line, speakers by runs, starts as differences, ends as lengths
    (`-` = unknown; an end whose start is unknown is kept whole). About 10 bytes a word before compression, 13 where
    the recogniser said how sure it was: then `sure` holds hundredths.
    """
    kept = clean(words)
    speakers = tuple(dict.fromkeys(each.speaker for each in kept))
    starts = [_milliseconds(each.start) for each in kept]
    ends = [_milliseconds(each.end) for each in kept]
    sure = [None if each.confidence is None else round(each.confidence * 100) for each in kept]
    told = {"sure": _joined(sure)} if any(each is not None for each in sure) else {}
    return {
        "v": _PACKED_VERSION,
        "speakers": list(speakers),
        "runs": [
            [speakers.index(who), len(tuple(run))] for who, run in groupby(each.speaker for each in kept)
        ],
        "words": "\n".join(each.text for each in kept),
        "starts": _joined(_differences(starts)),
        "ends": _joined(_less(end, start) for start, end in zip(starts, ends, strict=True)),
        **told,
    }


def unpack(value: Mapping[str, Any]) -> tuple[Word, ...]:
    """The words of `pack`; raises `ValueError` on a value that this version of `pack` did not make."""
    if value.get("v") != _PACKED_VERSION:
        raise ValueError("these words were packed by another version")
    texts = value["words"].split("\n") if value["words"] else []
    starts = tuple(_sums(_split(value["starts"])))
    ends = (_plus(end, start) for start, end in zip(starts, _split(value["ends"]), strict=True))
    names = (value["speakers"][index] for index, length in value["runs"] for _ in range(length))
    sure = _split(value["sure"]) if value.get("sure") else [None] * len(texts)
    columns = zip(texts, starts, ends, names, sure, strict=True)
    return tuple(
        Word(text, _in_seconds(start), _in_seconds(end), name, None if known is None else known / 100)
        for text, start, end, name, known in columns
    )


def _milliseconds(value: float | None) -> int | None:
    return None if value is None else round(value * 1000)


def _in_seconds(value: int | None) -> float | None:
    return None if value is None else value / 1000


def _differences(values: Iterable[int | None]) -> Iterator[int | None]:
    previous = 0
    for value in values:
        yield _less(value, previous)
        previous = previous if value is None else value


def _sums(differences: Iterable[int | None]) -> Iterator[int | None]:
    total = 0
    for difference in differences:
        yield _plus(difference, total)
        total += difference or 0


def _less(value: int | None, base: int | None) -> int | None:
    return None if value is None else value - (base or 0)


def _plus(value: int | None, base: int | None) -> int | None:
    return None if value is None else value + (base or 0)


def _joined(values: Iterable[int | None]) -> str:
    return " ".join(_UNKNOWN_TIME if value is None else str(value) for value in values)


def _split(column: str) -> list[int | None]:
    return [None if cell == _UNKNOWN_TIME else int(cell) for cell in column.split()]
