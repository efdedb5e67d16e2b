"""Whatever a row of the original holds, it is read or set aside; nothing else happens."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.audit_configs.rules import Rules
from conforme.legacy import (
    layout,
    mapping_audits,
    mapping_configs,
    mapping_fiches,
    mapping_people,
    mapping_recordings,
    mapping_schedules,
)
from conforme.legacy.errors import BadRow
from conforme.legacy.mapping_configs import Judged, rules_of
from conforme.legacy.source import Bundle
from rubrics import any_rules, rules

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["completed", "PRESENT", "CONFORME", "HIGH", "ACTIVE", "BON", "ines@example.test", "2026-01-05"]
)
VALUES = JSON | WORDS | st.integers(-1, 3) | st.datetimes() | st.decimals(allow_nan=True)
COLUMNS = {
    layout.USERS: (
        "email",
        "password_hash",
        "status",
        "crm_user_id",
        "last_login_at",
        "created_at",
        "role_id",
    ),
    layout.ROLES: ("key", "name", "description", "permission_id", "can_read", "can_write", "scope"),
    layout.CONFIGS: (
        "name",
        "prompt",
        "position",
        "severity_level",
        "weight",
        "control_points",
        "keywords",
        "is_active",
    ),
    layout.FICHES: (
        "fiche_id",
        "raw_data",
        "expires_at",
        "groupe",
        "recordings_count",
        "row_index",
        "modules",
        "details",
    ),
    layout.RECORDINGS: (
        "fiche_cache_id",
        "call_id",
        "transcription_data",
        "has_transcription",
        "speakers",
        "full_text",
    ),
    layout.SCHEDULES: (
        "name",
        "schedule_type",
        "time_of_day",
        "fiche_selection_mode",
        "fiche_selection_fiche_ids",
        "specific_audit_configs",
        "notify_emails",
        "last_run_at",
        "total_runs",
    ),
    layout.RUNS: (
        "schedule_id",
        "status",
        "started_at",
        "config_snapshot",
        "fiche_id",
        "total_fiches",
        "error",
    ),
    layout.AUDITS: (
        "fiche_cache_id",
        "audit_config_id",
        "status",
        "niveau",
        "result_data",
        "step_position",
        "control_point_index",
        "statut",
        "raw_result",
        "traite",
        "kind",
        "reviewed_at",
        "occurred_at",
    ),
}


@st.composite
def bundles(draw: st.DrawFn, kind: layout.Kind) -> Bundle:
    """A row of any content with rows below it."""
    columns = st.dictionaries(st.sampled_from(COLUMNS[kind]), VALUES)
    row = {**draw(columns), "id": 1}
    below: dict[str, list[dict[str, Any]]] = {}
    for child in kind.children:
        if draw(st.booleans()):
            below[child.table] = [{**draw(columns), "id": 1, child.key: 1}]
    return Bundle(1, row, {**below, "permissions": [{"id": 1, "key": "audits"}]})


READERS = {
    layout.USERS: mapping_people.user,
    layout.ROLES: mapping_people.role,
    layout.CONFIGS: mapping_configs.config,
    layout.FICHES: mapping_fiches.fiche,
    layout.RECORDINGS: mapping_recordings.recording,
    layout.SCHEDULES: mapping_schedules.schedule,
    layout.RUNS: lambda bundle: mapping_schedules.run(bundle, datetime(2026, 1, 5, tzinfo=UTC)),
    layout.AUDITS: lambda bundle: mapping_audits.audit(bundle, datetime(2026, 1, 5, tzinfo=UTC)),
}


@given(
    st.sampled_from(sorted(READERS, key=lambda kind: kind.name)).flatmap(
        lambda kind: st.tuples(st.just(kind), bundles(kind))
    )
)
def test_a_row_of_any_content_is_read_or_set_aside(given_: tuple[layout.Kind, Bundle]) -> None:
    kind, bundle = given_
    with suppress(BadRow):
        READERS[kind](bundle)
    assert len(bundle.digest) == 64


def test_a_schedule_is_read_as_the_body_that_would_create_it_and_its_key_is_not() -> None:
    row = {
        "id": 1,
        "name": "Nuit",
        "schedule_type": "WEEKLY",
        "cron_expression": "0 2 * * 1",
        "time_of_day": "02:00",
        "day_of_week": 1,
        "timezone": "Europe/Paris",
        "fiche_selection_mode": "date_range",
        "fiche_selection_date_range": "yesterday",
        "fiche_selection_groupes": ["EQUIPE R1"],
        "specific_audit_configs": [4],
        "external_api_key": "k",
        "is_active": True,
    }
    read = mapping_schedules.schedule(Bundle(1, row, {}))
    assert read.columns["cron_expression"] == "0 2 * * 1"
    assert read.columns["fiche_selection_groupes"] == ["EQUIPE R1"]
    assert (read.config_ids, "is_active" in read.columns, "external_api_key" in read.columns) == (
        (4,),
        False,
        False,
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"time_of_day": None}, "timeOfDay: DAILY schedule requires timeOfDay"),
        (
            {"timezone": "Paris"},
            "timezone: must be a time zone of the IANA database, for example Europe/Paris",
        ),
        ({"notify_emails": ["nobody"]}, "notifyEmails.0: must be an e-mail address"),
    ],
)
def test_a_schedule_that_would_be_refused_here_is_set_aside_with_the_reason(
    changed: dict[str, Any], reason: str
) -> None:
    row = {"id": 1, "name": "Nuit", "schedule_type": "DAILY", "time_of_day": "02:00"} | changed
    with pytest.raises(BadRow) as refused:
        mapping_schedules.schedule(Bundle(1, row, {}))
    assert refused.value.reason == reason


def test_a_run_that_is_under_way_is_left_until_it_has_ended_and_not_for_ever() -> None:
    row = {"id": 1, "schedule_id": 1, "status": "running", "started_at": "2026-01-05 02:00:00"}
    with pytest.raises(BadRow, match="it has not ended there yet"):
        mapping_schedules.run(Bundle(1, row, {}), datetime(2026, 1, 5, 9, tzinfo=UTC))
    late = mapping_schedules.run(Bundle(1, row, {}), datetime(2026, 1, 7, tzinfo=UTC))
    assert (late.columns["status"], late.columns["error_message"]) == (
        "failed",
        "The original never ended it",
    )


@given(any_rules())
def test_a_configuration_that_an_audit_agrees_with_is_what_it_was_judged_by(today: Rules) -> None:
    judged = [
        Judged(
            step.position,
            step.name,
            step.severity,
            step.is_critical,
            step.weight,
            {number: point.text for number, point in enumerate(step.control_points, 1)},
        )
        for step in today.steps
    ]
    if len({step.position for step in today.steps}) == len(today.steps):
        assert rules_of(today, judged, complete=True) == today


def test_what_an_audit_does_not_show_is_taken_from_the_step_of_that_name() -> None:
    today = rules(count=2)
    judged = [Judged(4, "Étape 2", "LOW", True, 9, {2: "Le client accepte tout."})]
    (step,) = rules_of(today, judged, complete=True).steps
    assert (step.position, step.prompt, step.severity, step.weight) == (
        4,
        "Vérifie ce qui est dit.",
        "LOW",
        9,
    )
    assert [point.text for point in step.control_points] == [
        "Le conseiller se présente.",
        "Le client accepte.",
    ]
    assert step.control_points[1].speaker == "client"
