"""Payloads of the gateway for tests: any that the schema admits, and one plausible."""

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

from conforme.crm.base import FicheId, Key
from conforme.crm.schemas import FicheDetails

# Drawn whole, not letter by letter: a payload has some three hundred of them.
texts = st.sampled_from(
    [
        "",
        " ",
        "NIV2",
        "41,10",
        "Inès",
        "null",
        "set",
        "drop",
        "extra",
        "row_index",
        "\u2028\U0001f4de",
        "'\";--",
    ]
)
fiche_ids = st.integers(0, 10**32 - 1).map(str)
_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = _leaves | st.lists(_leaves, max_size=2) | st.dictionaries(texts, _leaves, max_size=2)
_SCALARS: Mapping[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: st.integers(-(2**70), 2**70),
    bool: st.booleans(),
    NoneType: st.none(),
    Any: json_values,
    FicheId: fiche_ids,
    Key: texts,
}


def _values(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return objects_of(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0])
    if origin in {Union, UnionType}:
        return st.one_of(*map(_values, arguments))
    if origin is list:
        return st.lists(_values(arguments[0]), max_size=2)
    return st.dictionaries(texts, _values(arguments[1]), max_size=2)


@cache
def objects_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that `model` admits: optional keys there or not, and now and then a key nobody knows."""
    fields = {
        name: fiche_ids if name in {"fiche_id", "id"} else _values(info.annotation)
        for name, info in model.model_fields.items()
    }
    required = {name: fields[name] for name, info in model.model_fields.items() if info.is_required()}
    optional = {name: fields[name] for name in fields if name not in required}
    if "duration_seconds" in required:
        required["duration_seconds"] = st.integers(-(2**63), 2**63 - 1)
    unknown = st.dictionaries(texts.filter(lambda key: key not in fields), json_values, max_size=1)
    known = st.fixed_dictionaries(required, optional=optional)
    return st.tuples(known, st.just({}) | st.just({}) | unknown).map(lambda pair: {**pair[0], **pair[1]})


payloads = objects_of(FicheDetails)
