import json
from contextlib import suppress
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from conforme.audit_configs import files
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.files import Format
from conforme.audit_configs.rules import ControlPoint, Rules, StepRule
from rubrics import any_rules, rules

KINDS = st.sampled_from(["yaml", "json"])
STEP = {"name": "Accueil", "prompt": "Écoute.", "severity": "LOW", "control_points": ["Bonjour"]}


def refusal(content: str | bytes, kind: Format = "yaml") -> InvalidConfiguration:
    with pytest.raises(InvalidConfiguration) as caught:
        files.load(content.encode() if isinstance(content, str) else content, kind)
    return caught.value


@given(any_rules(), KINDS)
def test_what_is_dumped_is_read_back(some: Rules, kind: Format) -> None:
    assert files.load(files.dump(some, kind).encode(), kind) == some


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), KINDS)
def test_any_content_is_read_or_refused_with_a_reason(content: bytes, kind: Format) -> None:
    with suppress(InvalidConfiguration):
        files.load(content, kind)


def test_steps_without_positions_are_numbered_in_order() -> None:
    content = {"name": "Courte", "steps": [STEP, STEP]}
    assert [step.position for step in files.load(json.dumps(content).encode(), "json").steps] == [1, 2]


def test_a_plain_point_is_written_as_a_string_and_a_block_of_text_as_a_block() -> None:
    written = files.dump(rules(system_prompt="Une règle.\nUne autre."), "yaml")
    assert "      - Le conseiller se présente.\n" in written
    assert "system_prompt: |-\n  Une règle.\n  Une autre.\n" in written


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"weight": "lourd"}, "steps.0.weight"),
        ({"severity": "GRAVE"}, "steps.0.severity"),
        ({"name": 12}, "steps.0.name"),
        ({"prompt": None}, "steps.0.prompt"),
        ({"surprise": 1}, "steps.0.surprise"),
        ({"control_points": ["a", {"texte": "b"}]}, "steps.0.control_points.1.text"),
        ({"control_points": [{"text": "b", "proof": ["hearsay"]}]}, "steps.0.control_points.0.proof.0"),
        ({"control_points": ["x" * 2001]}, "steps.0.control_points.0.text"),
        ({"control_points": ["a\u0000b"]}, "steps.0.control_points.0.text"),
    ],
)
@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_an_error_names_the_path_of_its_field(change: dict[str, object], field: str, kind: Format) -> None:
    content = json.dumps({"name": "Courte", "steps": [STEP | change]})  # JSON is YAML too
    refused = refusal(content, kind)
    assert refused.field == field
    assert field in refused.message
    assert "x" * 100 not in refused.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "file: "),
        ("- a\n- b", "file: "),
        ("name: [", "file: "),
        ("a: &x [1]\nb: *x", "aliases are not accepted, line 2"),
        ("a: &a [1,1]\nb: &b [*a,*a]\nc: &c [*b,*b]", "aliases are not accepted"),
        ("name: a\nname: b", "'name' is given twice"),
        ("name: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "{b: " * 30 + "1" + "}" * 30, "nested too deeply"),
        ("valid_from: 2026-13-45", "not readable as YAML"),
        ("a: " + "9" * 5000, "not readable as YAML"),
        ("name: \x00", "file: "),
        ("#" * (files.MAX_BYTES + 1), "larger than"),
    ],
)
def test_hostile_yaml_is_refused_with_a_reason(content: str, reason: str) -> None:
    assert reason in refusal(content).message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"name": "a", "name": "b"}', "'name' is given twice"),
        ('{"name": NaN}', "NaN is not a value"),
        ("[" * 100_000, "nested too deeply"),
        ('{"name": "a"', "line 1"),
    ],
)
def test_hostile_json_is_refused_with_a_reason(content: str, reason: str) -> None:
    assert reason in refusal(content, "json").message


def test_what_is_not_utf8_is_refused() -> None:
    assert "not UTF-8" in refusal("name: é".encode("latin-1")).message


def test_a_byte_order_mark_is_ignored() -> None:
    assert files.load(b"\xef\xbb\xbf" + files.dump(rules(), "yaml").encode(), "yaml") == rules()


def test_many_errors_are_counted_not_all_listed() -> None:
    refused = refusal(json.dumps({"name": "a", "steps": [{}] * 20}), "json")
    assert len(refused.problems) > 20
    assert f"and {len(refused.problems) - 20} more" in refused.message


@pytest.mark.parametrize(("name", "kind"), [("a.YAML", "yaml"), ("a.yml", "yaml"), ("a.json", "json")])
def test_the_suffix_tells_the_format(name: str, kind: Format) -> None:
    assert files.format_of(PurePath(name)) == kind


def test_another_suffix_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match=r"\.yaml"):
        files.format_of(PurePath("grille.docx"))


@pytest.mark.parametrize("model", [Rules, StepRule, ControlPoint])
def test_every_field_of_a_file_is_documented(model: type[BaseModel]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configurations.md").read_text(encoding="utf-8")
    assert [name for name in model.model_fields if f"`{name}`" not in page] == []


def test_the_documented_example_can_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configurations.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    assert files.load(example.encode(), "yaml").problems() == []
