"""What the model may ask of the transcript in tools mode: search it, and fetch chunks of it (spec/audits §6). Pure.

Names, arguments, clamps and shapes of the answers are the contract's. Beyond it: matches are ranked (`ranking`), a
chunk's text is the lines of the prompt, so that a quote can name its turn, links to recordings are never shown (they
may carry a signature), and a chunk whose preview was shown once is not previewed again. The desk remembers which words
it gave out: a quote of any other is no evidence.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from conforme.audits.harmless import harmless
from conforme.audits.normalise import normalise, units
from conforme.audits.passages import TranscriptIndex
from conforme.audits.ranking import Ranking, stem
from conforme.audits.timeline import Recording, clock, turn_line
from conforme.audits.verdicts import UNKNOWN, Citation
from conforme.foundation.llm import Tool, ToolCall
from conforme.transcriptions.words import Chunk, Turn

RESULTS: Final = range(1, 51)
FETCHED: Final = range(1, 41)
CHARS: Final = range(1_000, 80_001)
PREVIEW: Final = range(80, 2_001)
TERM_LENGTH: Final = range(2, 9)
NEIGHBOURS: Final = range(3)
MOST_TERMS: Final = 40
MOST_ASKED: Final = 60
SHORTEST_TERM: Final = 3
LONGEST_QUERY: Final = 2_000
LONGEST_LABEL: Final = 40
LEAST_ALLOWANCE: Final = CHARS.start
"""Characters below which nothing more is fetched."""

SEARCH, FETCH = "searchTranscript", "getTranscriptChunks"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is given out at once when the model does not say; clamped to the ranges above."""

    results: int = 25
    chunks: int = 20
    chars: int = 20_000
    preview: int = 450


def clamped(value: int, allowed: range) -> int:
    return min(max(value, allowed.start), allowed.stop - 1)


# What it is asked with


def _whole(value: Any) -> Any:
    """A number that a model wrote as `3.0` or `"3"`; what is none stands for "not said"."""
    try:
        return None if value is None or isinstance(value, bool) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


Count = Annotated[int | None, BeforeValidator(_whole)]


def _all_required(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])
    for each in schema["properties"].values():
        each.pop("default", None)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=_all_required)


class SearchTranscript(_Arguments):
    query: Annotated[str, BeforeValidator(lambda value: str(value or "")[:LONGEST_QUERY])]
    maxResults: Count = None  # noqa: N815 -- the contract's name
    minTermLength: Count = None  # noqa: N815 -- the contract's name


class ChunkPlace(_Arguments):
    recording_index: int
    chunk_index: int


class GetTranscriptChunks(_Arguments):
    chunks: list[ChunkPlace]
    includeNeighbors: Count = None  # noqa: N815 -- the contract's name
    maxChars: Count = None  # noqa: N815 -- the contract's name


TOOLS: Final = (
    Tool(
        SEARCH,
        "Cherche des mots dans les appels et rend les extraits qui en parlent, du plus au moins parlant. "
        "maxResults : 1 à 50 ; minTermLength : 2 à 8 ; null pour le réglage d'usage.",
        SearchTranscript,
    ),
    Tool(
        FETCH,
        "Rend le texte des extraits demandés (60 au plus), seul texte qui puisse être cité. "
        "includeNeighbors : 0 à 2 extraits de chaque côté ; maxChars : 1000 à 80000 ; null pour le réglage d'usage.",
        GetTranscriptChunks,
    ),
)


# What it answers from


class Place(NamedTuple):
    """A chunk; both numbers count from 0."""

    recording: int
    chunk: int


class Catalogue:
    """The chunks of a timeline, ranked on demand; made once per case and shared by its steps."""

    def __init__(self, index: TranscriptIndex) -> None:
        self.recordings = tuple(heard.recording for heard in index.heard)
        self._heard = index.heard
        self.places = [
            Place(recording.recording_index, chunk.chunk_index)
            for recording in self.recordings
            for chunk in recording.chunks
        ]
        self._known = frozenset(self.places)

    @cached_property
    def ranking(self) -> Ranking:
        return Ranking(self._stems(place) for place in self.places)

    def _stems(self, place: Place) -> list[str]:
        heard, words = self._heard[place.recording], self.words(place)
        first, after = (
            bisect_left(heard.units, at, key=lambda unit: unit.first) for at in (words.start, words.stop)
        )
        return [stem(key) for key in heard.keys[first:after]]

    def __contains__(self, place: Place) -> bool:
        return place in self._known

    def recording(self, place: Place) -> Recording:
        return self.recordings[place.recording]

    def chunk(self, place: Place) -> Chunk:
        return self.recordings[place.recording].chunks[place.chunk]

    def turns(self, place: Place) -> Sequence[Turn]:
        chunk = self.chunk(place)
        return self.recording(place).turns[chunk.first_turn : chunk.last_turn + 1]

    def words(self, place: Place) -> range:
        """The words of a chunk, as indices in its recording."""
        turns = self.turns(place)
        return range(turns[0].first, turns[-1].last + 1)


def terms_of(query: str, shortest: int = SHORTEST_TERM) -> list[str]:
    """The distinct words of a query that are long enough, as evidence is compared."""
    keys = dict.fromkeys(unit.key for unit in units(query.split()))
    return [key for key in keys if len(key) >= shortest][:MOST_TERMS]


class Desk:
    """Answers the calls of one dialogue, and remembers what it gave out."""

    def __init__(self, catalogue: Catalogue, limits: Limits | None = None) -> None:
        self._catalogue = catalogue
        self._limits = limits or Limits()
        self._previewed: set[Place] = set()
        self._given: dict[int, set[int]] = {}
        self.searches = 0
        self.fetched: set[Place] = set()
        """Chunks of which any word was given out."""

    def answer(self, call: ToolCall, allowance: int) -> str:
        """What the model is told, as JSON of about `allowance` characters at most; a call that cannot be is told why."""
        try:
            if call.name == SEARCH:
                told = self.search(SearchTranscript.model_validate_json(call.arguments), allowance)
            elif call.name == FETCH:
                told = self.fetch(GetTranscriptChunks.model_validate_json(call.arguments), allowance)
            else:
                told = {"error": f"no such tool; there are: {SEARCH}, {FETCH}"}
        except ValidationError:
            told = {"error": "the arguments do not fit the schema of the tool"}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    # searchTranscript

    def search(self, asked: SearchTranscript, allowance: int = CHARS.stop) -> dict[str, Any]:
        """The chunks that speak of the query, best first (spec/audits §6)."""
        self.searches += 1
        wanted = self._limits.results if asked.maxResults is None else asked.maxResults
        shortest = SHORTEST_TERM if asked.minTermLength is None else asked.minTermLength
        terms = terms_of(asked.query, clamped(shortest, TERM_LENGTH))
        stems = [stem(term) for term in terms]
        found = self._catalogue.ranking.best(stems, clamped(wanted, RESULTS))
        matches = [
            self._match(self._catalogue.places[at], score, frozenset(stems))
            for at, score in found[: max(0, allowance) // clamped(self._limits.preview, PREVIEW)]
        ]
        return {
            "query": asked.query,
            "normalizedQuery": normalise(asked.query),
            "terms": terms,
            "totalRecordings": len(self._catalogue.recordings),
            "totalChunks": len(self._catalogue.places),
            "matches": matches,
            "note": _search_note(terms, matches),
        }

    def _match(self, place: Place, score: float, stems: frozenset[str]) -> dict[str, Any]:
        preview = "(déjà montré)" if place in self._previewed else self._preview(place, stems)
        self._previewed.add(place)
        return self._fields(place) | {"score": round(score, 4), "preview_text": preview}

    def _preview(self, place: Place, stems: frozenset[str]) -> str:
        """The lines around the one that holds most of the terms, the telling words at the beginning."""
        recording, chunk = self._catalogue.recording(place), self._catalogue.chunk(place)
        turns = self._catalogue.turns(place)
        held = [sum(stem(unit.key) in stems for unit in units(turn.text.split())) for turn in turns]
        best = held.index(max(held))
        lines = [turn_line(recording, chunk.first_turn + at) for at in range(best, len(turns))]
        return "\n".join(lines)[: clamped(self._limits.preview, PREVIEW)]

    # getTranscriptChunks

    def fetch(self, asked: GetTranscriptChunks, allowance: int = CHARS.stop) -> dict[str, Any]:
        """The text of the chunks asked for, in order, within the budget (spec/audits §6)."""
        wanted = self._limits.chars if asked.maxChars is None else asked.maxChars
        most = clamped(min(wanted, allowance), CHARS)
        places, more = self._wanted(asked)
        shown, left = [], most if allowance >= LEAST_ALLOWANCE else 0
        for place in places:
            text = self._given_out(place, left)
            if not text:
                break
            left -= len(text)
            shown.append(self._fields(place) | {"full_text": text})
        cut = any(not self._whole(place) for place in places[: len(shown)])
        truncated = more or cut or len(shown) < len(places)
        return {
            "requested": len(asked.chunks),
            "returned": len(shown),
            "maxChars": most,
            "truncated": truncated,
            "chunks": shown,
            "note": "Budget atteint : tout n'est pas montré." if truncated else "",
        }

    def _wanted(self, asked: GetTranscriptChunks) -> tuple[list[Place], bool]:
        """The chunks to give out, in order; and whether others that exist were asked for."""
        around = clamped(asked.includeNeighbors or 0, NEIGHBOURS)
        named = dict.fromkeys(
            Place(each.recording_index, each.chunk_index) for each in asked.chunks[:MOST_ASKED]
        )
        first = list(named)[: clamped(self._limits.chunks, FETCHED)]
        near = {
            Place(place.recording, place.chunk + by) for place in first for by in range(-around, around + 1)
        }
        places = sorted(place for place in near if place in self._catalogue)
        more = any(place in self._catalogue for place in list(named)[len(first) :])
        return places, more or len(asked.chunks) > MOST_ASKED

    def _given_out(self, place: Place, left: int) -> str:
        """The lines of a chunk up to `left` characters, the last one cut between two words; they may be quoted now."""
        recording, chunk = self._catalogue.recording(place), self._catalogue.chunk(place)
        lines: list[str] = []
        for at, turn in enumerate(self._catalogue.turns(place)):
            line, words = _cut(turn_line(recording, chunk.first_turn + at), turn, left)
            if not words:
                break
            lines.append(line)
            left -= len(line) + 1
            self._given.setdefault(place.recording, set()).update(range(turn.first, turn.first + words))
            self.fetched.add(place)
        return "\n".join(lines)

    def _whole(self, place: Place) -> bool:
        return self._given.get(place.recording, set()).issuperset(self._catalogue.words(place))

    def _fields(self, place: Place) -> dict[str, Any]:
        recording, chunk = self._catalogue.recording(place), self._catalogue.chunk(place)
        return {
            "recording_index": place.recording,
            "chunk_index": place.chunk,
            "minutage_secondes": chunk.start,
            "minutage": clock(chunk.start),
            "start_timestamp": chunk.start,
            "end_timestamp": chunk.end,
            "speakers": [harmless(speaker)[:LONGEST_LABEL] for speaker in chunk.speakers],
            "recording_date": harmless(recording.recording_date)[:LONGEST_LABEL],
            "recording_time": harmless(recording.recording_time)[:LONGEST_LABEL],
            "recording_url": UNKNOWN,
        }

    # Provenance

    def gave(self, citation: Citation) -> bool:
        """Whether every word of a passage was given out."""
        words = range(citation.first_word, citation.last_word + 1)
        return self._given.get(citation.recording_index, set()).issuperset(words)

    def given_turns(self) -> Iterator[tuple[int, int]]:
        """Recording and turn, counted from 1 as quotes name them, of the first turn of each chunk given out."""
        for place in sorted(self.fetched):
            yield place.recording + 1, self._catalogue.chunk(place).first_turn + 1


def _search_note(terms: Iterable[str], matches: Sequence[Any]) -> str:
    if not terms:
        return "Aucun terme assez long pour être cherché."
    return (
        "Un aperçu ne se cite pas : demander l'extrait." if matches else "Aucun extrait ne contient ces mots."
    )


def _cut(line: str, turn: Turn, left: int) -> tuple[str, int]:
    """The line and how many words of its turn it holds; none when not even the first fits."""
    words = turn.last - turn.first + 1
    if len(line) <= left:
        return line, words
    kept = line[: max(0, left)].rpartition(" ")[0]
    opening, bar, said = kept.partition(" | ")
    # The words of the line are those of the turn unless something in it was masked or made harmless: then none counts.
    spoken = said.split()
    whole = line.partition(" | ")[2].split()
    if not bar or not spoken or len(whole) != words:
        return "", 0
    return f"{opening} | {said} […]", len(spoken)
