"""How the rule-based auditor reads a call through tools: it searches what it would listen for, then fetches the best.

It only knows what it was given: a passage that was never fetched is not heard.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from conforme.sandbox.lexicon import lexicon
from conforme.sandbox.openai_wire import Asked, Call, Exchange
from conforme.sandbox.reading import Point, fenced, plain, read_step

SEARCH, FETCH = "searchTranscript", "getTranscriptChunks"
MOST_RESULTS = 2
LISTENED_TO = 2
"""Chunks fetched for each thing searched, the best ones."""
MOST_WORDS = 40

_LINE = re.compile(r"^\[(\d+)\.(\d+)\] ")
_LETTERS = re.compile(r"[a-z]{3,}")


def next_calls(prompt: str, asked: Asked) -> tuple[Call, ...]:
    """What to look up next; nothing once chunks were fetched, or when nothing was found."""
    if not asked.exchanges:
        return tuple(_searches(prompt))
    if any(exchange.call.name == FETCH for exchange in asked.exchanges):
        return ()
    return tuple(_fetches(asked.exchanges))


def with_transcript(prompt: str, asked: Asked) -> str:
    """The prompt with the lines that were fetched in place of the list of calls, in the order of the calls."""
    lines = {
        (int(match[1]), int(match[2])): line
        for exchange in asked.exchanges
        if exchange.call.name == FETCH
        for chunk in _given(exchange).get("chunks", [])
        for line in str(chunk.get("full_text", "")).splitlines()
        if (match := _LINE.match(line))
    }
    transcript = "\n".join(lines[place] for place in sorted(lines))
    listed = f"<calls>{fenced(prompt, 'calls')}</calls>"
    return prompt.replace(listed, f"<transcript>\n{transcript}\n</transcript>", 1)


# Searching


def _searches(prompt: str) -> Iterator[Call]:
    step = read_step(fenced(prompt, "step"))
    audible = [point for point in step.points if not point.proofs or "appel" in point.proofs]
    queries = dict.fromkeys(query for point in audible for query in _queries(point))
    for query in list(queries) or [step.name]:
        yield _call(SEARCH, query=query, maxResults=MOST_RESULTS, minTermLength=None)


def _queries(point: Point) -> Iterator[str]:
    """The words by which each thing the point is about is usually said; without any, the point's own."""
    known, text = lexicon(), plain(point.text)
    spoken = _spoken_words()
    keys = [fault.key for fault in known.faults_in(text)] if _is_fault(point, text) else []
    keys += [] if keys else [concept.key for concept in known.concepts_in(text)]
    if point.bad:
        yield _words([plain(example) for example in point.bad])
    if not keys:
        yield _words([text, *(plain(example) for example in point.good)])
    yield from (spoken[key] for key in keys)


def _is_fault(point: Point, text: str) -> bool:
    return point.fault or lexicon().prohibition.search(text) is not None


@cache
def _spoken_words() -> dict[str, str]:
    """For each concept and fault, the words of the phrases it is recognised by."""
    data = yaml.safe_load((files("conforme.sandbox") / "lexicon.yaml").read_text(encoding="utf-8"))
    said = {key: [*entry["said"], *entry.get("reply", [])] for key, entry in data["concepts"].items()}
    done = {key: [*entry["done"], *entry.get("kept", [])] for key, entry in data["faults"].items()}
    return {key: _words(phrases) for key, phrases in (said | done).items()}


def _words(phrases: Iterable[str]) -> str:
    empty = lexicon().empty_words
    found = dict.fromkeys(
        word for phrase in phrases for word in _LETTERS.findall(phrase) if word not in empty
    )
    return " ".join(list(found)[:MOST_WORDS])


# Fetching


def _fetches(exchanges: Sequence[Exchange]) -> Iterator[Call]:
    best = dict.fromkeys(
        (int(match["recording_index"]), int(match["chunk_index"]))
        for rank in range(LISTENED_TO)
        for exchange in exchanges
        for match in _given(exchange).get("matches", [])[rank : rank + 1]
    )
    if best:
        places = [{"recording_index": recording, "chunk_index": chunk} for recording, chunk in best]
        yield _call(FETCH, chunks=places, includeNeighbors=0, maxChars=None)


def _given(exchange: Exchange) -> dict[str, Any]:
    try:
        given = json.loads(exchange.output)
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def _call(name: str, **arguments: Any) -> Call:
    return Call(name, json.dumps(arguments, ensure_ascii=False))
