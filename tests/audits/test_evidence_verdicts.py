"""The model's answer: a schema that strict providers accept, and a tolerant reading."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conforme.audits.verdicts import (
    LONGEST_QUOTE,
    MOST_CITATIONS,
    CitationClaim,
    PointVerdict,
    Statut,
    StepVerdict,
)

SUPPORTED = {
    *(
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "$ref",
        "$defs",
        "title",
        "description",
    ),
}


def objects(node: Any) -> list[dict[str, Any]]:
    """Every schema node of a schema."""
    if isinstance(node, list):
        return [found for each in node for found in objects(each)]
    if not isinstance(node, dict):
        return []
    inner = [found for key, each in node.items() for found in _inside(key, each)]
    return [node, *inner]


def _inside(key: str, value: Any) -> list[dict[str, Any]]:
    if key in {"properties", "$defs"}:
        return [found for each in value.values() for found in objects(each)]
    return objects(value)


def test_the_schema_is_flat_closed_and_wholly_required() -> None:
    nodes = objects(StepVerdict.model_json_schema())
    assert {key for node in nodes for key in node} <= SUPPORTED
    for node in nodes:
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
        if "$ref" in node:
            assert list(node) == ["$ref"]


def test_the_schema_names_its_fields_as_the_contract_does() -> None:
    schema = StepVerdict.model_json_schema()
    assert list(schema["properties"]) == [
        *("traite", "conforme", "score", "niveau_conformite", "commentaire_global"),
        *("mots_cles_trouves", "erreurs_transcription_tolerees", "points_controle"),
    ]
    assert list(schema["$defs"]["PointVerdict"]["properties"]) == [
        *("numero", "statut", "commentaire", "erreur_transcription_notee", "variation_phonetique_utilisee"),
        "citations",
    ]
    assert "PENDING" not in schema["properties"]["niveau_conformite"]["enum"]


def test_a_sloppy_answer_is_read() -> None:
    answer = StepVerdict.model_validate(
        {
            "conforme": "non conforme",
            "niveau_conformite": " Rejet ",
            "score": None,
            "mots_cles_trouves": None,
            "surprise": 1,
            "points_controle": [
                {
                    "numero": "2",
                    "statut": "Présent",
                    "variation_phonetique_utilisee": None,
                    "citations": None,
                },
                {"numero": 3.0, "statut": "non-applicable", "citations": [{"texte": "a\0b", "tour": "7"}]},
            ],
        }
    )
    assert [(point.numero, point.statut) for point in answer.points_controle] == [
        (2, Statut.PRESENT),
        (3, Statut.NON_APPLICABLE),
    ]
    assert answer.points_controle[1].citations == [CitationClaim(texte="ab", enregistrement=0, tour=7)]


def test_an_endless_answer_is_cut() -> None:
    point = PointVerdict.model_validate(
        {"numero": 10**30, "statut": "ABSENT", "citations": [{"texte": "x" * 50_000}] * 500}
    )
    assert len(point.citations) == MOST_CITATIONS
    assert len(point.citations[0].texte) == LONGEST_QUOTE


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"conforme": "PEUT-ETRE", "niveau_conformite": "BON", "points_controle": []},
        {"conforme": "CONFORME", "niveau_conformite": "PENDING", "points_controle": []},
        {"conforme": "CONFORME", "niveau_conformite": "BON", "points_controle": [{"statut": "PRESENT"}]},
        {"conforme": "CONFORME", "niveau_conformite": "BON", "points_controle": "PRESENT"},
    ],
)
def test_an_answer_without_what_decides_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StepVerdict.model_validate(answer)


@given(st.text())
def test_a_quote_of_any_characters_can_be_stored(texte: str) -> None:
    kept = CitationClaim.model_validate({"texte": texte}).texte
    assert "\0" not in kept
    kept.encode()
