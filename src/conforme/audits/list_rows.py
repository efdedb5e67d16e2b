"""What lists read of audits and fiches, and how they show it: columns and no objects, for a page has hundreds."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    DateTime,
    FromClause,
    Numeric,
    Row,
    Select,
    any_,
    literal,
    select,
)

from conforme.audit_configs.models import AuditConfig
from conforme.audits.list_schemas import FicheOfAudits, ListedAudit
from conforme.audits.models import AuditRow
from conforme.fiches.models import FicheCache
from conforme.foundation.web import decimal_text, iso

JsonObject = dict[str, Any]
Writer = Callable[[Any], Any]
Wire = Sequence[tuple[int, str, Writer | None]]
"""Of each column its place in the row, its name on the wire, and how its values are written if not as they are."""

_TEXTS: Final = frozenset({"tracking_id", "fiche_id", "trigger_user_id"})
"""Ids that are text anyway."""


def _names(shown: type[BaseModel], table: FromClause) -> tuple[str, ...]:
    return tuple(name for name in shown.model_fields if name in table.c and name != "result_data")


def _wire(table: FromClause, names: Sequence[str]) -> Wire:
    return [(place, to_camel(name), _writer(table, name)) for place, name in enumerate(names)]


def _writer(table: FromClause, name: str) -> Writer | None:
    kind = table.c[name].type
    if isinstance(kind, DateTime):
        return iso
    if isinstance(kind, Numeric):
        return decimal_text
    return str if (name == "id" or name.endswith("_id")) and name not in _TEXTS else None


_AUDITS, _CONFIGS, _FICHES = AuditRow.__table__, AuditConfig.__table__, FicheCache.__table__
_AUDIT: Final = _names(ListedAudit, _AUDITS)
_FICHE: Final = _names(FicheOfAudits, _FICHES)
AUDIT_WIRE: Final = _wire(_AUDITS, _AUDIT)
FICHE_WIRE: Final = _wire(_FICHES, _FICHE)


def audits_listed(*, results: bool) -> Select[Any]:
    """What a list shows of an audit, its configuration and its fiche; whoever uses it has applied the scope.

    An audit's columns under their names, first those of `AUDIT_WIRE`; `config_name` and `config_description`;
    `known_fiche_id` (None where the fiche is not known), `groupe`, `prospect_nom` and `prospect_prenom`; with
    `results` what it stored, as `result_data`.
    """
    columns = [_AUDITS.c[name] for name in (*_AUDIT, "earned_weight", "total_weight")]
    return (
        select(
            *columns,
            _CONFIGS.c.name.label("config_name"),
            _CONFIGS.c.description.label("config_description"),
            _FICHES.c.fiche_id.label("known_fiche_id"),
            _FICHES.c.groupe,
            _FICHES.c.prospect_nom,
            _FICHES.c.prospect_prenom,
            *([_AUDITS.c.result_data] if results else []),
        )
        .select_from(_AUDITS)
        .join(_CONFIGS, _CONFIGS.c.id == _AUDITS.c.audit_config_id)
        .outerjoin(_FICHES, _FICHES.c.id == _AUDITS.c.fiche_cache_id)
    )


def fiches_listed(ids: Sequence[int]) -> Select[Any]:
    """The columns of `FICHE_WIRE` of these fiches; their audits were found within the actor's scope."""
    return select(*(_FICHES.c[name] for name in _FICHE)).where(_FICHES.c.id == any_(numbers(ids)))


def numbers(ids: Sequence[int]) -> ColumnElement[Sequence[int]]:
    """For `any_`: one parameter, however many there are. A page has hundreds, each of which would have to be bound."""
    return literal(list(ids), ARRAY(BigInteger))


def shown(row: Row[Any], wire: Wire) -> JsonObject:
    """Columns under their names on the wire: ids as text, times and scores as the wire writes them."""
    told: JsonObject = {}
    for place, name, write in wire:
        value = row[place]
        told[name] = value if write is None or value is None else write(value)
    return told
