"""Where a sale's calls come from, as far as the CRM tells (pure): what is not said stays open, nothing is guessed.

Two things are known of it (spec/fiches-and-transcriptions §1):

- the names of the fiche's provenance and origine. They are entries of the CRM's own lists, so what they mean is a
  setting (`AUDIT_CALL_ORIGINS`);
- the direction of each call. Who calls in was not solicited; whether they have a contract is not told by that. An
  outgoing call says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from conforme.audit_configs.rules import ANY_ORIGIN, CallOrigin, Origins

INCOMING: Final = "in"
CALLED_IN: Final[Origins] = ANY_ORIGIN - {"unsolicited"}
_KNOWN: Final[Mapping[str, CallOrigin]] = {origin: origin for origin in get_args(CallOrigin)}


@dataclass(frozen=True, slots=True)
class Told:
    """What the CRM says of a fiche."""

    names: Sequence[str | None] = ()
    """Of its provenance and of its origine."""
    directions: Sequence[str | None] = ()
    """Of its calls, each `in` or `out`."""


def meanings(entries: Iterable[str]) -> dict[str, CallOrigin]:
    """`NAME=origin` entries by name, whatever its case; of two for one name the last counts."""
    split = (entry.rpartition("=") for entry in entries)
    return {_plain(name): _KNOWN[origin.strip()] for name, _, origin in split}


def origins_of(told: Told, meaning: Mapping[str, CallOrigin]) -> Origins:
    """The origins that a sale may have; all of them where the CRM says nothing, or contradicts itself."""
    plain = map(_plain, filter(None, told.names))
    named: Origins = frozenset(meaning[name] for name in plain if name in meaning)
    called_in = bool(told.directions) and all(each == INCOMING for each in told.directions)
    may_be = (named or ANY_ORIGIN) & (CALLED_IN if called_in else ANY_ORIGIN)
    return may_be or ANY_ORIGIN


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
