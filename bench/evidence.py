"""Precision and recall of the evidence, and what it costs: true quotes badly heard, forged ones, long calls.

Seeded, so that two runs print the same counts. `BENCH_DIALOGUES`, a folder of JSON files with a `message_list` of
`{role, content}`, adds dialogues of one's own. Times are processor time, so that a busy machine does not blur them.
"""

import json
import os
import random
import statistics
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.forgeries import TAMPERS, Tamper, forgery
from bench.spoken import Fiche, Quoted, fiche, noised, true_quote
from conforme.audits.admission import SURE_OF_ROLE
from conforme.audits.evidence import locate
from conforme.audits.lexicon import Kind, kind
from conforme.audits.normalise import tokens
from conforme.audits.passages import TranscriptIndex
from conforme.audits.roles import by_rules, role_at
from conforme.audits.timeline import Call, build
from conforme.audits.verdicts import Citation, CitationClaim
from conforme.sandbox.corpus import WrittenCall, load_corpus
from conforme.sandbox.noise import mishear
from conforme.sandbox.speaking import SpokenWord, speak
from conforme.sandbox.speech import Hearing, heard
from conforme.transcriptions.words import Word, turns_of

T = TypeVar("T")
SEED = 20_260_105
TRUE_QUOTES, FORGERIES = 1_000, 200
AUDIT_STEPS, QUOTES_PER_STEP = 18, 8
THREE_HOURS_WORDS = 35_000


@dataclass
class Tally:
    """Outcomes of a series of quotes."""

    located: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    milliseconds: list[float] = field(default_factory=list[float])

    @property
    def asked(self) -> int:
        return len(self.milliseconds)

    def ask(self, claim: CitationClaim, index: TranscriptIndex) -> None:
        started = time.process_time()
        found = locate(claim, index)
        self.milliseconds.append(1000 * (time.process_time() - started))
        if isinstance(found, Citation):
            self.located += 1
        else:
            self.reasons[found.reason] += 1

    def line(self, name: str) -> str:
        if not self.asked:
            return f"{name:<44}{'no case':>13}"
        share = 100 * self.located / max(1, self.asked)
        median, worst = statistics.median(self.milliseconds), max(self.milliseconds)
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        return f"{name:<44}{self.located:>6}/{self.asked:<6}{share:>7.2f} %{median:>8.2f}{worst:>9.2f} ms  {reasons}"


def main() -> None:
    print(f"{'':<44}{'located':>13}{'':>9}{'median':>8}{'worst':>9}")
    fiches = _material(random.Random(SEED))
    for share in (0.0, 0.05, 0.1):
        print(true_quotes(fiches, share).line(f"true quotes, {share:.0%} noise, wrong place"))
    print(with_ellipsis(fiches).line("true quotes with an ellipsis, 5% noise"))
    for share in (0.05, 0.1):
        print(misheard_calls(share).line(f"written words, {share:.0%} of the transcript misheard"))
    for tamper in TAMPERS:
        print(forged(fiches, tamper).line(f"forged: {tamper.__name__.replace('_', ' ')}"))
    for swapped in (0.0, 1.0):
        print(who_speaks(swapped))
    for name, tally in own_dialogues():
        print(tally.line(name))
    _costs()


def _material(dice: random.Random) -> list[tuple[Fiche, TranscriptIndex]]:
    made = [fiche(dice, calls=2, words=900) for _ in range(8)]
    return [(each, TranscriptIndex(each.timeline)) for each in made]


def _astray(claim: CitationClaim, dice: random.Random) -> CitationClaim:
    """The claim with a place that is most likely wrong, or does not exist."""
    return claim.model_copy(update={"enregistrement": dice.randrange(4), "tour": dice.randrange(200)})


def true_quotes(fiches: Sequence[tuple[Fiche, TranscriptIndex]], share: float) -> Tally:
    dice, tally = random.Random(SEED + 1), Tally()
    for _ in range(TRUE_QUOTES):
        material, index = dice.choice(fiches)
        quoted = true_quote(material, dice)
        text = " ".join(noised(quoted.words, share, dice))
        tally.ask(_astray(quoted.claim(text), dice), index)
    return tally


def with_ellipsis(fiches: Sequence[tuple[Fiche, TranscriptIndex]]) -> Tally:
    """Quotes that leave out words in their middle, but nothing of a negation."""
    dice, tally = random.Random(SEED + 2), Tally()
    while tally.asked < TRUE_QUOTES // 4:
        material, index = dice.choice(fiches)
        text = shortened(material, true_quote(material, dice, least=14), dice)
        if text is not None:
            tally.ask(CitationClaim(texte=text), index)
    return tally


def shortened(material: Fiche, quoted: Quoted, dice: random.Random) -> str | None:
    """The quote with an ellipsis for the middle third of its words; `None` when these hold a negation."""
    cuts = [
        cut - quoted.first for cut in material.cuts[quoted.recording] if quoted.first < cut < quoted.after
    ]
    first, after = cuts[len(cuts) // 3], cuts[len(cuts) * 2 // 3]
    if any(kind(token) is Kind.NEGATION for word in quoted.words[first:after] for token in tokens(word)):
        return None
    head, tail = (noised(part, 0.05, dice) for part in (quoted.words[:first], quoted.words[after:]))
    return " ".join([*head, "[…]", *tail])


def misheard_calls(share: float) -> Tally:
    """The words that make the truth of the written calls, looked for in what a recogniser heard of them."""
    tally = Tally()
    for written in load_corpus().calls:
        index = _misheard(written, share)
        for truth in written.truth.values():
            for quote in truth.quotes:
                tally.ask(CitationClaim(texte=quote.text, enregistrement=1, tour=quote.turn), index)
    return tally


def _misheard(written: WrittenCall, share: float) -> TranscriptIndex:
    heard = mishear(speak(written).words, share, f"{SEED}-{written.id}").words
    words = tuple(Word(word.text, word.start, word.end, word.role) for word in heard)
    return TranscriptIndex(build([Call(call_id=written.id, words=words)]))


def forged(fiches: Sequence[tuple[Fiche, TranscriptIndex]], tamper: Tamper) -> Tally:
    dice, tally = random.Random(SEED + 3), Tally()
    for _ in range(20 * FORGERIES):
        material, index = dice.choice(fiches)
        claim = forgery(material, tamper, dice)
        if claim is not None:
            tally.ask(claim, index)
        if tally.asked == FORGERIES:
            break
    return tally


def who_speaks(swapped: float) -> str:
    """Words of every written call, as heard, that are given to the wrong party, and that are flagged as unsure."""
    counts: Counter[str] = Counter()
    for written in load_corpus().calls:
        truth = {word.start: _PARTIES[word.role] for word in speak(written).words}
        starts = sorted(truth)
        heard_words = heard(load_corpus(), written.reference, Hearing(swap_share=swapped, seed=SEED))
        turns = turns_of([Word(word.text, word.start, word.end, word.role) for word in _unnamed(heard_words)])
        roles = {each.speaker: each for each in by_rules(turns)}
        for at, turn in enumerate(turns):
            role, sure = role_at(roles, turn.speaker, at)
            for word in heard_words[turn.first : turn.last + 1]:
                right = role == truth[starts[bisect_right(starts, word.start) - 1]]
                counts["flagged" if sure < SURE_OF_ROLE else "right" if right else "wrong"] += 1
    wrong, flagged = (100 * counts[kind] / counts.total() for kind in ("wrong", "flagged"))
    return f"who speaks, {swapped:.0%} of calls with speakers exchanged: wrong {wrong:.2f} %, flagged {flagged:.2f} %"


_PARTIES = {"conseiller": "advisor", "client": "client", "tiers": "other"}


@dataclass(frozen=True)
class _Labelled:
    text: str
    start: float
    end: float
    role: str


def _unnamed(words: Sequence[SpokenWord]) -> Iterator[_Labelled]:
    labels: dict[str, str] = {}
    for word in words:
        label = labels.setdefault(word.role, f"speaker_{len(labels)}")
        yield _Labelled(word.text, word.start, word.end, label)


def own_dialogues() -> Iterator[tuple[str, Tally]]:
    folder = os.environ.get("BENCH_DIALOGUES")
    files = sorted(Path(folder).glob("*.json")) if folder else []
    if not files:
        return
    fiches = [Fiche(build([_dialogue(file)])) for file in files]
    pairs = [(each, TranscriptIndex(each.timeline)) for each in fiches]
    yield "own dialogues: true quotes, 10% noise", true_quotes(pairs, 0.1)
    for tamper in TAMPERS:
        yield f"own dialogues: {tamper.__name__.replace('_', ' ')}", forged(pairs, tamper)


def _dialogue(file: Path) -> Call:
    messages = json.loads(file.read_text("utf-8"))["message_list"]
    words = [
        Word(text, None, None, message["role"]) for message in messages for text in message["content"].split()
    ]
    return Call(call_id=file.stem, words=tuple(words))


# Cost


def _costs() -> None:
    dice = random.Random(SEED + 4)
    half_hour, long_call = fiche(dice, calls=1, words=5_000), fiche(dice, calls=1, words=THREE_HOURS_WORDS)
    for name, material in (("30 minutes", half_hour), ("3 hours", long_call)):
        index, milliseconds = _timed(lambda material=material: TranscriptIndex(material.timeline))
        print(f"{name}: index built in {milliseconds:.0f} ms")
        claims = _answer(material, dice)
        _, milliseconds = _timed(
            lambda index=index, claims=claims: [locate(claim, index) for claim in claims]
        )
        print(f"{name}: {len(claims)} quotes of one audit in {milliseconds:.0f} ms")
    index = TranscriptIndex(long_call.timeline)
    for name, text in _monsters(long_call):
        _, milliseconds = _timed(lambda text=text: locate(CitationClaim(texte=text), index))
        print(f"3 hours, {name}: {milliseconds:.0f} ms")


def _answer(material: Fiche, dice: random.Random) -> list[CitationClaim]:
    """What a model might cite in one audit: mostly verbatim, some badly copied, a few forged."""
    claims: list[CitationClaim] = []
    while len(claims) < AUDIT_STEPS * QUOTES_PER_STEP:
        quoted = true_quote(material, dice)
        if dice.random() < 0.1:
            claim = forgery(material, dice.choice(TAMPERS), dice)
            claims += [claim] if claim else []
        else:
            share = dice.choice((0.0, 0.0, 0.0, 0.1))
            claims.append(quoted.claim(" ".join(noised(quoted.words, share, dice))))
    return claims


def _monsters(material: Fiche) -> Iterator[tuple[str, str]]:
    words = material.texts(0)
    yield "10 000 characters quoted", " ".join(words[5_000:])[:10_000]
    yield (
        "10 000 characters, a word changed in 50",
        " ".join("autrement" if at % 50 == 49 else word for at, word in enumerate(words[5_000:]))[:10_000],
    )
    yield "oui, 2 500 times", "oui " * 2_500
    yield "forty ellipses", " … ".join(words[1_000:1_040])


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time()
    return work(), 1000 * (time.process_time() - started)
