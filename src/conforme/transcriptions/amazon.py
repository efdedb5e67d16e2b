"""Amazon Transcribe's files: batch transcripts, by speaker or by channel, and Call Analytics. Pure.

Shapes after the "Data input and output", "Partitioning speakers", "Transcribing multi-channel audio" and "Post-call
analytics output" pages of the Amazon Transcribe developer guide.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from conforme.transcriptions.heard import UnreadableCall, by_time, speaker_of, spoken
from conforme.transcriptions.words import Word, clean, one_line, word

Json = Mapping[str, Any]


def transcribed_words(results: Json) -> Iterator[Word]:
    """The words of `results`, in the order of its items; of its channels by time when there are only channels.

    A file without items has its text alone: words without times nor speakers.

    Raises:
        UnreadableCall: `results` holds neither items, channels nor a text.
    """
    channels = _objects(_under(results.get("channel_labels"), "channels"))
    items = _objects(results.get("items"))
    if items:
        yield from _item_words(items, _Labels(results, channels))
    elif channels:
        yield from by_time(_channel_words(channel) for channel in channels)
    else:
        yield from _plain_words(results)


def _plain_words(results: Json) -> Iterator[Word]:
    texts = [each.get("transcript") for each in _objects(results.get("transcripts"))]
    said = [text for text in texts if isinstance(text, str)]
    if not said and not isinstance(results.get("items"), list):
        raise UnreadableCall("results.items must be a list", field="results.items")
    for text in said:
        yield from spoken(text, None)


class _Labels:
    """Who spoke an item: it says so itself, or a list beside the items does, by the item's times."""

    def __init__(self, results: Json, channels: Iterable[Json]) -> None:
        self._beside: defaultdict[tuple[float | None, float | None], deque[str]] = defaultdict(deque)
        for segment in _objects(_under(results.get("speaker_labels"), "segments")):
            for item in _objects(segment.get("items")):
                self._note(item, item.get("speaker_label") or segment.get("speaker_label"))
        if not self._beside:
            for channel in channels:
                for item in _objects(channel.get("items")):
                    self._note(item, channel.get("channel_label"))

    def _note(self, item: Json, label: object) -> None:
        if isinstance(label, str) and item.get("type") != "punctuation":
            self._beside[_times(item)].append(label)

    def of(self, item: Json) -> str | None:
        own = item.get("speaker_label") or item.get("channel_label")
        if isinstance(own, str):
            return own
        beside = self._beside.get(_times(item))
        # Two channels may hold words of the same times: each label is used once, in the order given.
        return None if not beside else beside.popleft() if len(beside) > 1 else beside[0]


def _times(item: Json) -> tuple[float | None, float | None]:
    return number(item.get("start_time")), number(item.get("end_time"))


def _item_words(items: Iterable[Json], labels: _Labels) -> Iterator[Word]:
    pending: Word | None = None
    for item in items:
        text = _best_alternative(item)
        if item.get("type") == "punctuation":
            pending = _with_mark(pending, text)
            continue
        if pending is not None:
            yield pending
        start, end = number(item.get("start_time")), number(item.get("end_time"))
        pending = word(text, start, end, speaker_of(labels.of(item)), _confidence(item))
    if pending is not None:
        yield pending


def _channel_words(channel: Json) -> Iterator[Word]:
    label = channel.get("channel_label")
    items = [{"channel_label": label, **item} for item in _objects(channel.get("items"))]
    return _item_words(items, _Labels({}, ()))


def _confidence(item: Json) -> float | None:
    return number(_best(item).get("confidence"))


def _best(item: Json) -> Json:
    return next(iter(_objects(item.get("alternatives"))), {})


def _best_alternative(item: Json) -> str:
    best = _best(item)
    content = best.get("content", item.get("content"))
    return content if isinstance(content, str) else ""


def _with_mark(previous: Word | None, mark: str) -> Word | None:
    if previous is None:
        return previous
    return replace(previous, text=previous.text + one_line(mark))


# Call Analytics


def analytics_turns(turns: Iterable[Any]) -> Iterator[Iterable[Word]]:
    """The turns of `Transcript`: a role, a text, milliseconds, and the times of its words where they are given.

    Raises:
        UnreadableCall: a turn without `Content`.
    """
    for index, turn in enumerate(turns):
        content = turn.get("Content") if isinstance(turn, Mapping) else None
        if not isinstance(content, str):
            path = f"Transcript.{index}.Content"
            raise UnreadableCall(f"{path} must be a string", field=path)
        yield _analytics_words(turn, content)


def _analytics_words(turn: Json, content: str) -> Iterable[Word]:
    speaker = speaker_of(turn.get("ParticipantId"), turn.get("ParticipantRole"))
    timed = tuple(_item_words(map(_as_batch, _objects(turn.get("Items"))), _Labels({}, ())))
    if [each.text for each in timed] == one_line(content).split():
        return clean(replace(each, speaker=speaker) for each in timed)
    start, end = _thousandth(turn.get("BeginOffsetMillis")), _thousandth(turn.get("EndOffsetMillis"))
    return spoken(content, speaker, start, end)


def _as_batch(item: Json) -> Json:
    return {
        "type": item.get("Type"),
        "content": item.get("Content"),
        "start_time": _thousandth(item.get("BeginOffsetMillis")),
        "end_time": _thousandth(item.get("EndOffsetMillis")),
    }


# Values of any shape


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _under(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None


def number(value: object) -> float | None:
    """A number, written as one or as text (`"12.34"`); anything else is unknown."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _thousandth(value: object) -> float | None:
    known = number(value)
    return None if known is None else known / 1000
