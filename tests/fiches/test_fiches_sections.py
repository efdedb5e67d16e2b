from typing import Any

from fiche_payloads import json_values, payloads, texts
from hypothesis import given
from hypothesis import strategies as st

from conforme.crm.schemas import FicheDetails
from conforme.fiches.layout import ROOT_KEY
from conforme.fiches.patch import apply, diff
from conforme.fiches.sections import join, nodes, split

objects = st.dictionaries(texts, json_values, max_size=3)


@given(payloads)
def test_a_payload_comes_back_from_its_rows_as_it_came(payload: dict[str, Any]) -> None:
    details = FicheDetails.model_validate(payload)
    assert details.payload() == payload
    assert join(split(details.payload())) == payload


@given(payloads)
def test_rows_point_at_a_row_of_their_parent_s_table(payload: dict[str, Any]) -> None:
    rows = split(payload)
    for node in nodes():
        for child in node.below:
            on_root = child.parent_key == ROOT_KEY
            parents = {1} if on_root else {row["id"] for row in rows.tables.get(node.table, ())}
            assert {row[child.parent_key] for row in rows.tables.get(child.table, ())} <= parents


@given(objects, objects)
def test_a_patch_turns_any_object_into_any_other(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    patched = apply(diff(found, wanted), found)
    assert patched == wanted
    assert diff(patched, wanted) is None


def test_true_is_not_one_even_deep_inside() -> None:
    assert diff({"a": [1]}, {"a": [True]}) == {"set": {"a": [True]}}
    assert diff({"a": {"b": 1, "c": 2}}, {"a": {"b": True, "c": 2}}) == {"in": {"a": {"set": {"b": True}}}}
