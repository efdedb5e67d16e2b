"""The invented people, brands, prices and dates that a written call is played with.

A cast is drawn from a seed: the same profile, seed and day give the same people, so that a fiche of the CRM and
the call recorded for it name the same client, advisor, price and start date. Phones come from the ranges that
French numbering reserves for fiction; mail addresses end in `example.test`.
"""

import random
import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_UP, Decimal
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import yaml

Sex = Literal["F", "M"]

MONTHS = (
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
)
WEEKDAYS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")


@dataclass(frozen=True, slots=True)
class Profile:
    """Who a scenario needs as its client, and the monthly price it is about, in euros."""

    sex: Sex
    age: tuple[int, int]
    csp: str
    price: tuple[int, int]
    spouse: bool = False
    children: int = 0
    advisor: Sex | None = None
    pair: bool = False
    """The sale takes two calls, the first some days before the second."""


@dataclass(frozen=True, slots=True)
class Person:
    sex: Sex
    first_name: str
    family_name: str
    birth: date

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.family_name}"


@dataclass(frozen=True, slots=True)
class Advisor:
    id: str
    sex: Sex
    first_name: str
    family_name: str
    group_index: int

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.family_name}"


@dataclass(frozen=True, slots=True)
class Offer:
    """The contract proposed; amounts in euros."""

    insurer: str
    plan_range: str
    plan: str
    monthly: Decimal
    fees: Decimal
    debit_day: int
    starts: date

    @property
    def first_debit(self) -> Decimal:
        return self.monthly + self.fees

    @property
    def first_year(self) -> Decimal:
        return self.monthly * 12 + self.fees


@dataclass(frozen=True, slots=True)
class Cast:
    client: Person
    spouse: Person | None
    children: tuple[Person, ...]
    advisor: Advisor
    firm: str
    orias: str
    street: str
    city: str
    postcode: str
    offer: Offer
    old_insurer: str
    old_monthly: Decimal
    old_end: date
    asked_on: date
    recall_on: date
    recall_hour: int
    day: date

    @property
    def mail(self) -> str:
        return f"{_ascii(self.client.first_name)}.{_ascii(self.client.family_name)}@example.test"

    def words(self) -> dict[str, str]:
        """What each placeholder of a written call is replaced by."""
        return self._people() | self._terms()

    def _people(self) -> dict[str, str]:
        client, advisor = self.client, self.advisor
        spouse = self.spouse or client
        children = [child.first_name for child in self.children] or ["votre enfant"]
        return {
            "civ": "Madame" if client.sex == "F" else "Monsieur",
            "nom": client.family_name,
            "prenom": client.first_name,
            "e": "e" if client.sex == "F" else "",
            "naissance": spoken_date(client.birth),
            "conjoint": spouse.first_name,
            "ec": "e" if spouse.sex == "F" else "",
            "naissance_conjoint": spoken_date(spouse.birth),
            "enfant_1": children[0],
            "enfant_2": children[-1],
            "conseiller": advisor.name,
            "conseiller_prenom": advisor.first_name,
            "ce": "e" if advisor.sex == "F" else "",
            "titre": "conseillère" if advisor.sex == "F" else "conseiller",
            "cabinet": self.firm,
            "orias": self.orias,
            "adresse": self.street,
            "ville": self.city,
            "cp": self.postcode,
            "mail_dit": self.mail.replace(".", " point ").replace("@", " arobase ").replace("-", " tiret "),
        }

    def _terms(self) -> dict[str, str]:
        offer = self.offer
        return {
            "assureur": offer.insurer,
            "gamme": offer.plan_range,
            "formule": f"{offer.plan_range} {offer.plan}",
            "prix": spoken_price(offer.monthly),
            "prix_an": spoken_price(offer.first_year),
            "frais": spoken_price(offer.fees),
            "premier": spoken_price(offer.first_debit),
            "jour": str(offer.debit_day),
            "effet": spoken_date(offer.starts),
            "ancien": self.old_insurer,
            "ancien_prix": spoken_price(self.old_monthly),
            "echeance": f"le {spoken_date(self.old_end)}",
            "demande": spoken_date(self.asked_on, weekday=True, year=False),
            "rappel": f"{spoken_date(self.recall_on, weekday=True, year=False)} à {self.recall_hour} heures",
            "budget": spoken_price(_up_to_ten(offer.monthly)),
        }


@lru_cache(maxsize=1)
def names() -> dict[str, Any]:
    """The lists of invented names, brands and places."""
    text = resources.files("conforme.sandbox").joinpath("calls", "people.yaml").read_text("utf-8")
    return yaml.safe_load(text)


@lru_cache(maxsize=1)
def advisors() -> tuple[Advisor, ...]:
    """The sales staff; a group, and the firm it works for, share an index."""
    dice = random.Random("advisors")
    found: list[Advisor] = []
    for number, family_name in enumerate(names()["advisor_names"]):
        sex: Sex = "F" if number % 2 else "M"
        first_name = dice.choice(names()["first_names"][sex])
        found.append(
            Advisor(str(201 + number), sex, first_name, family_name, number % len(names()["groups"]))
        )
    return tuple(found)


def orias_of(firm_index: int) -> str:
    """An ORIAS number that cannot exist: real ones begin with the year of registration."""
    return f"99 00{firm_index} {317 + 101 * firm_index}"


def draw_cast(profile: Profile, seed: str, day: date) -> Cast:
    """The cast of a sale made on `day`."""
    dice = random.Random(f"cast:{seed}:{day.isoformat()}")
    family_name = dice.choice(names()["family_names"])
    client = _adult(dice, profile.sex, profile.age, family_name, day)
    staff = [one for one in advisors() if profile.advisor in {None, one.sex}]
    advisor = dice.choice(staff)
    city, postcode = dice.choice(names()["cities"])
    offer, old_insurer = _offer(dice, profile, day)
    asked = day - timedelta(days=dice.randint(8, 10) if profile.pair else dice.randint(2, 5))
    return Cast(
        client=client,
        spouse=_spouse(dice, client, day) if profile.spouse else None,
        children=_children(dice, profile.children, client, day),
        advisor=advisor,
        firm=names()["firms"][advisor.group_index],
        orias=orias_of(advisor.group_index),
        street=f"{dice.randint(1, 98)} {dice.choice(names()['streets'])}",
        city=city,
        postcode=postcode,
        offer=offer,
        old_insurer=old_insurer,
        old_monthly=offer.monthly + Decimal(dice.randint(30, 160)) / 10,
        old_end=date(day.year, 12, 31),
        asked_on=asked,
        recall_on=day if profile.pair else _workday_after(day, dice.randint(2, 4)),
        recall_hour=dice.choice((10, 11, 14, 15, 17)),
        day=day,
    )


def spoken_date(day: date, *, weekday: bool = False, year: bool = True) -> str:
    """`1er mars 1958`, `mardi 17 novembre`."""
    number = "1er" if day.day == 1 else str(day.day)
    parts = [WEEKDAYS[day.weekday()]] if weekday else []
    parts += [number, MONTHS[day.month - 1]]
    return " ".join([*parts, str(day.year)] if year else parts)


def spoken_price(amount: Decimal) -> str:
    """`58 euros 40`, `15 euros`."""
    cents = int((amount * 100).to_integral_value())
    euros, rest = divmod(cents, 100)
    return f"{euros} euros {rest:02d}" if rest else f"{euros} euros"


def _adult(dice: random.Random, sex: Sex, ages: tuple[int, int], family_name: str, day: date) -> Person:
    born = date(day.year - dice.randint(*ages), dice.randint(1, 12), dice.randint(1, 28))
    return Person(sex, dice.choice(names()["first_names"][sex]), family_name, born)


def _spouse(dice: random.Random, client: Person, day: date) -> Person:
    age = day.year - client.birth.year + dice.randint(-3, 3)
    return _adult(dice, "M" if client.sex == "F" else "F", (age, age), client.family_name, day)


def _children(dice: random.Random, count: int, parent: Person, day: date) -> tuple[Person, ...]:
    """Girl and boy in turn; the scenarios say "she" of the first and "he" of the second."""
    born = day.year - 7 if day.year - parent.birth.year < 60 else parent.birth.year + 27
    given = names()["children"] if born == day.year - 7 else names()["first_names"]
    sexes: tuple[Sex, ...] = ("F", "M")
    return tuple(
        Person(sex, dice.choice(given[sex]), parent.family_name, date(born + 3 * rank, 5, 9 + rank))
        for rank, sex in enumerate(sexes[:count])
    )


def _offer(dice: random.Random, profile: Profile, day: date) -> tuple[Offer, str]:
    (insurer, plans), (old, _) = dice.sample(names()["insurers"], 2)
    low, high = profile.price
    next_month = (day.replace(day=1) + timedelta(days=62)).replace(day=1)
    offer = Offer(
        insurer=insurer,
        plan_range=dice.choice(plans),
        plan=dice.choice(("200", "300", "Plus", "Confort")),
        monthly=Decimal(dice.randint(low * 10, high * 10)) / 10,
        fees=Decimal(dice.choice((10, 15, 20, 25))),
        debit_day=dice.choice((5, 8, 10, 12)),
        starts=next_month,
    )
    return offer, old


def _workday_after(day: date, days: int) -> date:
    then = day + timedelta(days=days)
    return then + timedelta(days=max(0, 7 - then.weekday())) if then.weekday() >= 5 else then


def _up_to_ten(amount: Decimal) -> Decimal:
    return (amount / 10).to_integral_value(rounding=ROUND_UP) * 10


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in plain if letter.isascii() and (letter.isalnum() or letter == "-"))
