"""The CRM's invented population: every day its sales, each with a client, an advisor, a contract and its calls.

Nothing is stored. A fiche id says its day and its rank in that day, and everything else follows from the seed, so
that a month of 200 sales a day costs what is asked of it and no more. Any date has its sales, to come or past;
with `now` given, sales appear as their hour comes.
"""

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from conforme.sandbox.cast import Cast
from conforme.sandbox.corpus import CallReference, Corpus, Quality, WrittenCall
from conforme.sandbox.speaking import speak

FIRST_DAY = date(2024, 1, 1)
RANKS_PER_DAY = 1000
FIRST_ID = 1_000_000
ATTEMPTS = ("appel-coupe", "faux-numero", "appel-silencieux")
"""Scenarios of calls that come to nothing."""
MOST_ATTEMPTS = 2
MIX: tuple[Quality, ...] = ("bon", "mauvais", "bon", "moyen", "bon", "mauvais", "moyen", "bon")
"""Qualities of a day's sales, in turn: a small day already holds good ones and bad ones."""
_NAME = re.compile(
    r"(?P<fiche>[0-9a-f]{8})-(?P<rank>[0-9a-f]{4})-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}-.*\.mp3"
)


@dataclass(frozen=True, slots=True)
class Recording:
    """One call of a sale, as the CRM knows it."""

    call_id: str
    reference: CallReference
    start: datetime
    seconds: int
    """As the telephone exchange counts: the scenario's usual length, within some per cent of the audio's."""
    answered: bool
    from_number: str
    to_number: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Sale:
    fiche_id: str
    rank: int
    scenario: str
    cast: Cast
    at: datetime
    """When the contract was made, UTC."""
    phone: str
    key: str
    """The security key (`cle`) of the fiche."""

    @property
    def day(self) -> date:
        return self.cast.day


class Population:
    """Sales by day, fiche by id, recording by file name."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        seed: int = 1,
        sales_per_day: int = 12,
        attempts_per_sale: int = 0,
        closed_weekdays: frozenset[int] = frozenset(),
        now: Callable[[], datetime] | None = None,
    ) -> None:
        if not 0 <= sales_per_day <= RANKS_PER_DAY:
            raise ValueError(f"a day holds at most {RANKS_PER_DAY} sales")
        if not 0 <= attempts_per_sale <= MOST_ATTEMPTS:
            raise ValueError(f"at most {MOST_ATTEMPTS} attempts are added to a sale")
        self.corpus = corpus
        self.seed = seed
        self.sales_per_day = sales_per_day
        """May grow at any time: sales already seen keep their ids and their content."""
        self.attempts_per_sale = attempts_per_sale
        """Calls that came to nothing before each sale, beside those that some sales have anyway."""
        self.closed_weekdays = closed_weekdays
        """Days without a sale; Monday is 0."""
        self._now = now
        self.sale = lru_cache(maxsize=8192)(self._sale)
        self.recordings = lru_cache(maxsize=8192)(self._recordings)
        self._seconds = lru_cache(lambda scenario: round(speak(corpus.call(scenario)).seconds))

    def sales(self, day: date) -> tuple[Sale, ...]:
        """The sales of a day, in the order of their ids; among any eight in a row, good ones and bad ones."""
        if day < FIRST_DAY or day.weekday() in self.closed_weekdays:
            return ()
        found = (self.sale(day, rank) for rank in range(self.sales_per_day))
        return tuple(one for one in found if self._happened(one))

    def find(self, fiche_id: str) -> Sale | None:
        """The sale of that fiche; None for an id that nobody has."""
        if not re.fullmatch(r"\d{7,10}", fiche_id):
            return None
        days, rank = divmod(int(fiche_id) - FIRST_ID, RANKS_PER_DAY)
        if days < 0 or rank >= self.sales_per_day or days > 40_000:
            return None
        sale = self.sale(FIRST_DAY + timedelta(days=days), rank)
        closed = sale.day.weekday() in self.closed_weekdays
        return sale if sale.fiche_id == fiche_id and not closed and self._happened(sale) else None

    def recording(self, file_name: str) -> Recording | None:
        """The recording served under that name; None when there is none."""
        found = _NAME.fullmatch(file_name)
        sale = self.find(str(int(found["fiche"], 16))) if found else None
        if not found or not sale:
            return None
        known = {one.file_name: one for one in self.recordings(sale)}
        return known.get(file_name)

    def calls(self, sale: Sale) -> tuple[WrittenCall, ...]:
        """The written calls behind the recordings of a sale, oldest first."""
        return tuple(self.corpus.play(one.reference) for one in self.recordings(sale))

    def _happened(self, sale: Sale) -> bool:
        return self._now is None or sale.at <= self._now()

    def _sale(self, day: date, rank: int) -> Sale:
        fiche_id = str(FIRST_ID + (day - FIRST_DAY).days * RANKS_PER_DAY + rank)
        dice = random.Random(f"sale:{self.seed}:{fiche_id}")
        quality = MIX[rank % len(MIX)]
        scenarios = list(self.corpus.openers(quality))
        random.Random(f"day:{self.seed}:{day.isoformat()}:{quality}").shuffle(scenarios)
        turn = MIX[: rank % len(MIX)].count(quality) + rank // len(MIX) * MIX.count(quality)
        scenario = scenarios[turn % len(scenarios)]
        at = datetime(day.year, day.month, day.day, 8, tzinfo=UTC) + timedelta(
            seconds=dice.randrange(9 * 3600)
        )
        return Sale(
            fiche_id=fiche_id,
            rank=rank,
            scenario=scenario,
            cast=self.corpus.cast(CallReference(scenario, scenario, self._seed_of(fiche_id), day)),
            at=at,
            phone=f"063998{dice.randrange(10_000):04d}",
            key=hashlib.blake2b(f"{self.seed}:{fiche_id}".encode(), digest_size=6).hexdigest(),
        )

    def _seed_of(self, fiche_id: str) -> str:
        return f"{self.seed}-{fiche_id}"

    def _recordings(self, sale: Sale) -> tuple[Recording, ...]:
        """The call or the two calls of the sale, and before them, at times, an attempt that came to nothing."""
        dice = random.Random(f"recordings:{self.seed}:{sale.fiche_id}")
        second = self.corpus.scenarios[sale.scenario].second_call
        plan = [(second, timedelta(0))] if second else []
        plan.insert(0, (sale.scenario, timedelta(days=4 if second else 0, minutes=3)))
        attempt = dice.choices(("", "appel-coupe", "appel-silencieux", "faux-numero"), (70, 14, 12, 4))[0]
        if attempt:
            plan.insert(0, (attempt, timedelta(days=4 if second else 0, minutes=dice.randint(40, 180))))
        others = [each for each in ATTEMPTS if each != attempt]  # no two recordings of a sale are the same
        for number, scenario in enumerate(others[: self.attempts_per_sale]):
            plan.insert(0, (scenario, timedelta(days=5 + number)))
        return tuple(
            self._recording(sale, rank, scenario, sale.at - before, dice)
            for rank, (scenario, before) in enumerate(plan)
        )

    def _recording(
        self, sale: Sale, rank: int, scenario: str, start: datetime, dice: random.Random
    ) -> Recording:
        reference = CallReference(scenario, sale.scenario, self._seed_of(sale.fiche_id), sale.day)
        from_number = f"3319900{dice.randrange(10_000):04d}"
        to_number = f"33{sale.phone[1:]}"
        noise = hashlib.blake2b(f"{self.seed}:{sale.fiche_id}:{rank}".encode(), digest_size=9).hexdigest()
        uuid = f"{int(sale.fiche_id):08x}-{rank:04x}-4{noise[:3]}-8{noise[3:6]}-{noise[6:]}"
        return Recording(
            call_id=f"{sale.fiche_id}{rank + 1}",
            reference=reference,
            start=start.replace(microsecond=dice.randrange(1000) * 1000),
            seconds=self._seconds(scenario),
            answered=scenario != "appel-silencieux",
            from_number=from_number,
            to_number=to_number,
            file_name=f"{uuid}-{start:%d-%m-%y-%Hh%M}-{from_number}-{to_number}.mp3",
        )
