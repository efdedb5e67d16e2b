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


_FILE = "0a1b2c3d-1111-4222-8333-444455556666-05-01-26-08h14"
_times = st.sampled_from(
    ["2026-01-05T08:14:03.120456+00:00", "2026-01-05T09:14:03.120+01:00", "05/10/2025 08:14"]
)
_addresses = st.sampled_from(
    [
        f"https://cdn.example.test/r/{_FILE}-33199001234-33639981122.mp3",
        f"https://cdn.example.test/r/{_FILE}-33639981122.mp3",
    ]
)
_NAMED: Mapping[str, st.SearchStrategy[Any]] = {
    "fiche_id": fiche_ids,
    "id": fiche_ids,
    "call_id": fiche_ids,
    "start_time": texts | _times,
    "duration_seconds": st.integers(-(2**63), 2**63 - 1),
    "recording_url": st.none() | texts | _addresses,
}
"""Fields that are more than their type says."""


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
        name: _NAMED[name] if name in _NAMED else _values(info.annotation)
        for name, info in model.model_fields.items()
    }
    required = {name: fields[name] for name, info in model.model_fields.items() if info.is_required()}
    optional = {name: fields[name] for name in fields if name not in required}
    unknown = st.dictionaries(texts.filter(lambda key: key not in fields), json_values, max_size=1)
    known = st.fixed_dictionaries(required, optional=optional)
    return st.tuples(known, st.just({}) | st.just({}) | unknown).map(lambda pair: {**pair[0], **pair[1]})


def _called_once(payload: dict[str, Any]) -> dict[str, Any]:
    """A call is known by its id: the same one twice is one row (spec/fiches §3)."""
    return {**payload, "recordings": list({call["call_id"]: call for call in payload["recordings"]}.values())}


payloads = objects_of(FicheDetails).map(_called_once)
