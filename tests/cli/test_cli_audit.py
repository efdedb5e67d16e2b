"""`conforme audit` as it is used: files in, report and exit code out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer.testing
from file_audit_room import BROKEN, CHAT, RUBRIC, at, sandboxed
from pydantic_ai.models import override_allow_model_requests

from conforme import file_audit
from conforme.cli import app
from conforme.file_audit import Options, Results, Skipped, calls_under, run
from conforme.settings import Settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _asking_allowed() -> object:  # pyright: ignore[reportUnusedFunction]
    with override_allow_model_requests(True):
        yield


def test_a_folder_is_audited_and_what_cannot_be_read_is_reported_and_skipped(
    tmp_path: Path, capsys: Capture
) -> None:
    calls = at(tmp_path, {"b.json": CHAT, "a/one.json": CHAT, "c.json": BROKEN, "d.srt": b"\xff\xfe\x00"})
    code = run(sandboxed(calls, as_json=True), Settings())
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert code == file_audit.SOME_MISSING
    assert [audit["file"] for audit in report["audits"]] == ["a/one.json", "b.json"]
    assert [each["file"] for each in report["skipped"]] == ["c.json", "d.srt"]
    assert all(each["reason"] in told.err for each in report["skipped"])


def test_every_quote_of_the_report_is_word_for_word_in_its_file(tmp_path: Path, capsys: Capture) -> None:
    calls = at(tmp_path, {f"{number}.json": CHAT for number in range(3)})
    assert run(sandboxed(calls, as_json=True), Settings()) == file_audit.ALL_DONE
    messages = [" ".join(each["content"].split()) for each in json.loads(CHAT)["message_list"]]
    quotes = [
        quote
        for audit in json.loads(capsys.readouterr().out)["audits"]
        for step in audit["steps"]
        for point in step["points"]
        for quote in point["citations"]
    ]
    assert len(quotes) >= 3
    for quote in quotes:
        assert quote["texte"] in messages[quote["turn"] - 1]
        assert quote["minutage"] is None


def test_the_stand_in_is_named_for_what_it_is_and_costs_nothing(tmp_path: Path, capsys: Capture) -> None:
    run(sandboxed(at(tmp_path, {"a.json": CHAT}), as_json=True), Settings())
    (audit,) = json.loads(capsys.readouterr().out)["audits"]
    assert audit["model"] == file_audit.STAND_IN
    assert (audit["cost"], audit["currency"]) == ("0", None)


def test_the_report_for_people_names_quotes_and_turns_and_obeys_no_markup(
    tmp_path: Path, capsys: Capture
) -> None:
    calls = at(tmp_path, {"[red]a[/].json": CHAT})
    assert run(sandboxed(calls), Settings()) == file_audit.ALL_DONE
    out = capsys.readouterr().out
    assert "[red]a[/].json" in out.replace("\n", "")
    assert "turn 1" in out
    assert "--:--" not in out
    assert "N/A" not in out


def test_one_page_is_written_beside_the_report(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    options = sandboxed(at(tmp_path / "calls", {"a.json": CHAT, "b.json": CHAT}), html=page)
    assert run(options, Settings()) == file_audit.ALL_DONE
    assert page.read_text(encoding="utf-8").count("<article") == 2


def test_a_page_that_could_not_be_written_is_refused_before_anything_is_audited(
    tmp_path: Path, capsys: Capture
) -> None:
    options = sandboxed(at(tmp_path, {"a.json": CHAT}), html=tmp_path / "nowhere" / "report.html")
    assert run(options, Settings()) == file_audit.NOTHING_DONE
    told = capsys.readouterr()
    assert "--html" in told.err
    assert told.out == ""


def test_without_a_key_it_says_so_and_offers_the_sandbox(tmp_path: Path, capsys: Capture) -> None:
    options = Options((at(tmp_path, {"a.json": CHAT}),), as_json=True)
    assert run(options, Settings()) == file_audit.NOTHING_DONE
    told = capsys.readouterr()
    assert told.out == ""
    assert "OPENAI_API_KEY" in told.err
    assert "--sandbox" in told.err


def test_audio_without_a_speech_key_is_skipped_with_the_setting_to_set(
    tmp_path: Path, capsys: Capture
) -> None:
    calls = at(tmp_path, {"a.wav": b"RIFF", "b.json": CHAT})
    assert run(sandboxed(calls), Settings()) == file_audit.SOME_MISSING
    assert "ELEVENLABS_API_KEY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "expected"),
    [({"c.json": BROKEN}, "skipped"), ({"notes.md": b"hello"}, "no call found"), ({}, "no call found")],
)
def test_when_nothing_can_be_audited_the_exit_code_says_so(
    tmp_path: Path, capsys: Capture, files: dict[str, bytes], expected: str
) -> None:
    assert run(sandboxed(at(tmp_path, files)), Settings()) == file_audit.NOTHING_DONE
    assert expected in capsys.readouterr().err


def test_a_missing_file_costs_only_itself(tmp_path: Path, capsys: Capture) -> None:
    calls = at(tmp_path, {"a.json": CHAT})
    options = Options((tmp_path / "gone.json", calls / "a.json"), config=str(RUBRIC), sandbox=True)
    assert run(options, Settings()) == file_audit.SOME_MISSING
    assert "skipped gone.json: No such file" in capsys.readouterr().err


def test_an_unforeseen_fault_of_one_file_does_not_cost_the_others(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = file_audit.read_call

    def fragile(content: bytes, name: str) -> object:
        if name == "a.json":
            raise ZeroDivisionError
        return real(content, name)

    monkeypatch.setattr(file_audit, "read_call", fragile)
    assert (
        run(sandboxed(at(tmp_path, {"a.json": CHAT, "b.json": CHAT})), Settings()) == file_audit.SOME_MISSING
    )
    assert "skipped a.json: unexpected ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("nowhere.yaml", "nowhere.yaml"),
        ("unknown-name", "vente-sante-courte, vente-sante-complete"),
        ("rubric.txt", "rubric.txt"),
    ],
)
def test_a_rubric_that_cannot_be_used_is_refused_before_anything_is_paid(
    tmp_path: Path, capsys: Capture, config: str, expected: str
) -> None:
    options = Options((at(tmp_path, {"a.json": CHAT}),), config=config, sandbox=True)
    assert run(options, Settings()) == file_audit.NOTHING_DONE
    assert expected in capsys.readouterr().err


def test_shipped_rubrics_are_known_by_name_and_the_short_one_is_the_default() -> None:
    assert file_audit.rules_from(None) == file_audit.rules_from("vente-sante-courte")
    assert len(file_audit.rules_from("vente-sante-complete").steps) > 15


def test_the_example_in_english_can_run_and_is_met_by_an_invented_call(
    tmp_path: Path, capsys: Capture
) -> None:
    rubric = Path(__file__).parents[2] / "docs" / "examples" / "roadside-assistance.yaml"
    options = Options((at(tmp_path, {"a.json": CHAT}),), config=str(rubric), as_json=True, sandbox=True)
    assert run(options, Settings()) == file_audit.ALL_DONE
    (audit,) = json.loads(capsys.readouterr().out)["audits"]
    met = {
        (step["position"], point["numero"])
        for step in audit["steps"]
        for point in step["points"]
        if point["statut"] == "PRESENT"
    }
    assert {(1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (3, 3)} <= met
    assert audit["niveau"] != "PENDING"


def test_folders_give_their_calls_in_order_once_and_without_hidden_ones(tmp_path: Path) -> None:
    folder = at(
        tmp_path,
        {"b.vtt": b"", "a.JSON": b"", "x/a.json": b"", ".git/a.json": b"", ".a.json": b"", "notes.md": b""},
    )
    assert [each.name for each in calls_under([folder, folder / "b.vtt"])] == ["a.JSON", "b.vtt", "x/a.json"]


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    folder = at(tmp_path, {"x/a.json": b"", "y/a.json": b""})
    names = [each.name for each in calls_under([folder / "x", folder / "y"])]
    assert names == [str(folder / "x" / "a.json"), str(folder / "y" / "a.json")]


def test_what_was_audited_before_an_interruption_is_reported(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = file_audit.read_call

    def interrupted(content: bytes, name: str) -> object:
        if name == "b.json":
            raise KeyboardInterrupt
        return real(content, name)

    monkeypatch.setattr(file_audit, "read_call", interrupted)
    code = run(sandboxed(at(tmp_path, {"a.json": CHAT, "b.json": CHAT}), as_json=True), Settings())
    assert code == file_audit.INTERRUPTED
    assert [audit["file"] for audit in json.loads(capsys.readouterr().out)["audits"]] == ["a.json"]


def test_a_run_that_analysed_nothing_has_done_nothing() -> None:
    assert Results().exit_code == file_audit.NOTHING_DONE
    assert Results(skipped=[Skipped("a", "b")]).exit_code == file_audit.NOTHING_DONE


def test_the_command_hands_its_options_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Options] = []

    def listening(options: Options, _: Settings) -> int:
        given.append(options)
        return 1

    monkeypatch.setattr(file_audit, "run", listening)
    arguments = [
        "audit",
        "a",
        "b",
        "--config",
        "c.yaml",
        "--model",
        "m",
        "--json",
        "--html",
        "r.html",
        "--sandbox",
    ]
    assert typer.testing.CliRunner().invoke(app, arguments).exit_code == 1
    expected = Options((Path("a"), Path("b")), "c.yaml", "m", as_json=True, html=Path("r.html"), sandbox=True)
    assert given == [expected]


def test_help_waits_for_no_heavy_library() -> None:
    heavy = ["pydantic_ai", "sqlalchemy", "dbos", "fastapi", "pydantic_settings", "jinja2", "psycopg"]
    code = f"import sys, conforme.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
