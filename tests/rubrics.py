"""Rules of any shape, for tests of configurations."""

from typing import Any

from hypothesis import strategies as st

from conforme.audit_configs.rules import ControlPoint, Rules, StepRule


def texts(longest: int, shortest: int = 0) -> st.SearchStrategy[str]:
    """Any text that PostgreSQL and a file can hold, odd spaces and line breaks included."""
    characters = st.characters(exclude_categories=("Cs",), exclude_characters=list(map(chr, range(32))))
    return st.text(characters | st.sampled_from("\t\n\r é:#-'\"|>"), min_size=shortest, max_size=longest)


def points() -> st.SearchStrategy[ControlPoint]:
    detailed = st.builds(
        ControlPoint,
        text=texts(60),
        ref=st.none() | st.sampled_from(["O1", "Q1"]),
        proof=st.lists(st.sampled_from(["call", "crm", "document"]), min_size=1, max_size=3).map(tuple),
        speaker=st.sampled_from([None, "advisor", "client"]),
        weight=st.integers(0, 1000),
        critical=st.booleans(),
        forbidden=st.booleans(),
        source=st.none() | texts(40),
        valid_from=st.none() | st.dates(),
        valid_to=st.none() | st.dates(),
        call_origin=st.sampled_from([None, "unsolicited", "requested", "client"]),
        compliant_examples=st.lists(texts(40), max_size=3).map(tuple),
    )
    return st.builds(ControlPoint, text=texts(60)) | detailed


def steps() -> st.SearchStrategy[StepRule]:
    return st.builds(
        StepRule,
        position=st.integers(0, 10_000),
        name=texts(40),
        description=st.none() | texts(200),
        prompt=texts(300),
        severity=st.sampled_from(["LOW", "MEDIUM", "HIGH", "CRITICAL"]),
        is_critical=st.booleans(),
        chronological_important=st.booleans(),
        weight=st.integers(0, 1000),
        verify_product_info=st.booleans(),
        keywords=st.lists(texts(15), max_size=4).map(tuple),
        control_points=st.lists(points(), max_size=4).map(tuple),
    )


def any_rules() -> st.SearchStrategy[Rules]:
    """Drafts of every state, most of which could not run."""
    return st.builds(
        Rules,
        name=texts(40),
        description=st.none() | texts(200),
        system_prompt=st.none() | texts(300),
        compliant_from=st.sampled_from(["EXCELLENT", "BON", "ACCEPTABLE", "INSUFFISANT"]),
        valid_from=st.none() | st.dates(),
        steps=st.lists(steps(), max_size=4).map(tuple),
    )


def step(position: int = 1, **changes: Any) -> StepRule:
    """A step that can run."""
    content: dict[str, Any] = {
        "position": position,
        "name": f"Étape {position}",
        "prompt": "Vérifie ce qui est dit.",
        "severity": "HIGH",
        "control_points": ["Le conseiller se présente.", {"text": "Le client accepte.", "speaker": "client"}],
    }
    return StepRule.model_validate(content | changes)


def rules(name: str = "Grille d'essai", count: int = 2, **changes: Any) -> Rules:
    """Rules that can run."""
    content = {"name": name, "steps": [step(position) for position in range(1, count + 1)]}
    return Rules.model_validate(content | changes)
