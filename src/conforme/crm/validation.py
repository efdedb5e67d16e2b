"""Item by item: what is malformed in a listing is set aside with its reason, and the others go on.

A reason names places and kinds (`recordings.0.call_id: missing`), never a value: values are personal data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from conforme.crm.base import FicheId, GatewayModel
from conforme.crm.schemas import SalesFiche

_FICHE_ID = TypeAdapter(FicheId)
_REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A fiche of a listing that cannot be read."""

    index: int
    """Its place in the listing, from 0."""
    fiche_id: str | None
    """None when the id itself is malformed."""
    reason: str
    dates: tuple[str, ...] = ()
    """What it says of when it was modified and entered, as far as that is text."""


def read_fiches(items: Sequence[Any]) -> tuple[tuple[SalesFiche, ...], tuple[Quarantined, ...]]:
    """The fiches of a listing that can be read, in order, and those that cannot."""
    read: list[SalesFiche] = []
    aside: list[Quarantined] = []
    for index, item in enumerate(items):
        try:
            read.append(SalesFiche.model_validate(item))
        except ValidationError as error:
            aside.append(Quarantined(index, _fiche_id(item), reason_of(error), _dates(item)))
    return tuple(read), tuple(aside)


def _fiche_id(item: Any) -> str | None:
    try:
        return _FICHE_ID.validate_python(item.get("id") if isinstance(item, dict) else None)
    except ValidationError:
        return None


def _dates(item: Any) -> tuple[str, ...]:
    told = (
        [item.get(name) for name in ("date_modification", "date_insertion")] if isinstance(item, dict) else []
    )
    return tuple(text for text in told if isinstance(text, str))


def reason_of(error: ValidationError) -> str:
    """The first mismatches as `path: kind`, without any value of the payload."""
    issues = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{_path(issue['loc'])}: {issue['type']}" for issue in issues[:_REASONS_SHOWN]]
    more = len(issues) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _path(location: tuple[int | str, ...]) -> str:
    # A path may run through a key that the CRM's users wrote (a question, a section): only our own names are shown.
    names = _declared_names()
    return ".".join(str(part) if isinstance(part, int) or part in names else "*" for part in location) or "*"


@cache
def _declared_names() -> frozenset[str]:
    return frozenset(name for model in GatewayModel.__subclasses__() for name in model.model_fields)
