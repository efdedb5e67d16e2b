"""What lists read of audits and fiches, and how they show it: columns and no objects, for a page has hundreds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from sqlalchemy import (
    ColumnElement,
    DateTime,
    FromClause,
    Numeric,
    Row,
    Select,
    any_,
    select,
)

from conforme.audit_configs.models import AuditConfig
from conforme.audits.list_schemas import FicheOfAudits, ListedAudit
from conforme.audits.models import AuditRow
from conforme.fiches.models import FicheCache
from conforme.foundation.arrays import numbers
from conforme.foundation.web import decimal_text, iso

JsonObject = dict[str, Any]
Writer = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Wire:
    """How the first columns of a row stand on the wire."""

    names: Sequence[str]
    """Of all of them, in their order."""
    written: Sequence[tuple[str, Writer]]
    """Those whose values do not go out as they are."""


_TEXTS: Final = frozenset({"tracking_id", "fiche_id", "trigger_user_id"})
"""Ids that are text anyway."""


def _names(shown: type[BaseModel], table: FromClause) -> tuple[str, ...]:
    return tuple(name for name in shown.model_fields if name in table.c and name != "result_data")


def _wire(table: FromClause, names: Sequence[str]) -> Wire:
    writers = ((to_camel(name), _writer(table, name)) for name in names)
    return Wire([to_camel(name) for name in names], [(name, write) for name, write in writers if write])


def _writer(table: FromClause, name: str) -> Writer | None:
    kind = table.c[name].type
    if isinstance(kind, DateTime):
        return iso
    if isinstance(kind, Numeric):
        return decimal_text
    return str if (name == "id" or name.endswith("_id")) and name not in _TEXTS else None


AUDITS = AuditRow.__table__
"""For statements of columns alone: an attribute of `AuditRow` in one makes it one of objects."""
_CONFIGS, _FICHES = AuditConfig.__table__, FicheCache.__table__
_AUDIT: Final = _names(ListedAudit, AUDITS)
_FICHE: Final = _names(FicheOfAudits, _FICHES)
AUDIT_WIRE: Final = _wire(AUDITS, _AUDIT)
BESIDE: Final = len(_AUDIT)
"""Where in a row of `audits_listed` begins what is shown beside the audit's columns."""
FICHE_WIRE: Final = _wire(_FICHES, _FICHE)


def audits_listed(*, results: bool) -> Select[Any]:
    """What a list shows of an audit, its configuration and its fiche; whoever uses it has applied the scope.

    An audit's columns under their names, those of `AUDIT_WIRE`; from `BESIDE` on its weights earned and in all, the
    name and the description of its configuration, and of its fiche the number (None where it is not known), groupe
    and names; with `results` what it stored, as `result_data`.
    """
    columns = [AUDITS.c[name] for name in (*_AUDIT, "earned_weight", "total_weight")]
    return (
        select(
            *columns,
            _CONFIGS.c.name.label("config_name"),
            _CONFIGS.c.description.label("config_description"),
            _FICHES.c.fiche_id.label("known_fiche_id"),
            _FICHES.c.groupe,
            _FICHES.c.prospect_nom,
            _FICHES.c.prospect_prenom,
            *([AUDITS.c.result_data] if results else []),
        )
        .select_from(AUDITS)
        .join(_CONFIGS, _CONFIGS.c.id == AUDITS.c.audit_config_id)
        .outerjoin(_FICHES, _FICHES.c.id == AUDITS.c.fiche_cache_id)
    )


def fiche_columns(fiches: FromClause) -> list[ColumnElement[Any]]:
    """Those of `FICHE_WIRE`, of the table of fiches or of an alias of it."""
    return [fiches.c[name] for name in _FICHE]


def fiches_listed(ids: Sequence[int]) -> Select[Any]:
    """The columns of `FICHE_WIRE` of these fiches; their audits were found within the actor's scope."""
    return select(*fiche_columns(_FICHES)).where(_FICHES.c.id == any_(numbers(ids)))


def shown(row: Row[Any], wire: Wire) -> JsonObject:
    """Columns under their names on the wire: ids as text, times and scores as the wire writes them."""
    told: JsonObject = dict(zip(wire.names, row, strict=False))
    for name, write in wire.written:
        if (value := told[name]) is not None:
            told[name] = write(value)
    return told
