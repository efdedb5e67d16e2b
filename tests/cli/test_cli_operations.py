"""`conforme doctor`, `migrate` and `config`, as a person types them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from conforme.cli import app, main
from conforme.foundation.embedded import sibling_url
from conforme.sandbox.chassis import in_thread
from conforme.sandbox.world import Sandbox


@pytest.fixture
def url(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The worker's database, as the environment names it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CONFORME_DATA", str(tmp_path))
    monkeypatch.setenv("LOG_LEVEL", "error")
    return database_url


def conforme(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_doctor_names_what_is_missing_and_fails(url: str) -> None:
    answer = conforme("doctor")
    assert answer.exit_code == 1
    for setting in ("FICHE_API_BASE_URL", "ELEVENLABS_API_KEY", "OPENAI_API_KEY", "API_AUTH_TOKENS"):
        assert setting in answer.output
    assert "PostgreSQL" in answer.output


def test_doctor_is_content_when_the_main_job_could_run(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_thread(Sandbox()) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("API_AUTH_TOKENS", "one,two")
        answer = conforme("doctor")
        assert answer.exit_code == 0, answer.output
        assert "2 API token(s)" in answer.output
        assert "MISSING" not in answer.output
        assert not any(secret in answer.output for secret in ("sandbox-model-key", "one,two"))


def test_doctor_tells_an_unreachable_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", sibling_url(url, "no_such_database"))
    answer = conforme("doctor")
    assert answer.exit_code == 1
    assert "not reachable" in answer.output


def test_doctor_tells_whether_live_events_can_leave(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = conforme("doctor")
    assert "through PostgreSQL (REDIS_URL is not set)" in answer.output
    assert "not configured: events are on streams alone" in answer.output
    monkeypatch.setenv("REDIS_URL", "redis://:a-password@127.0.0.1:1/0")
    with in_thread(Sandbox()) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        answer = conforme("doctor")
        assert answer.exit_code == 0, "events are on streams all the same"
        told = " ".join(answer.output.split())
        assert "REDIS_URL: not reachable" in told
        assert f"{sandbox.environment()['PUSHER_HOST']} (application" in told
    assert "a-password" not in answer.output


def test_migrate_says_when_it_is_done(url: str) -> None:
    answer = conforme("migrate")
    assert (answer.exit_code, answer.output.strip()) == (0, "The database is up to date.")


def test_a_configuration_is_imported_listed_and_exported(database: object, url: str, tmp_path: Path) -> None:
    file = tmp_path / "grille.yaml"
    file.write_text(
        "name: Grille courte\nsteps:\n  - name: Accueil\n    prompt: Écoute.\n    severity: LOW\n"
        "    control_points: [Le conseiller dit bonjour.]\n",
        encoding="utf-8",
    )
    created = conforme("config", "import", str(file))
    assert created.exit_code == 0, created.output
    assert "Created configuration" in created.output
    assert "Updated configuration" in conforme("config", "import", str(file)).output
    assert "Grille courte  (1 steps" in conforme("config", "list").output
    exported = conforme("config", "export", "Grille courte")
    assert "Le conseiller dit bonjour." in exported.output
    target = tmp_path / "sortie.json"
    assert conforme("config", "export", "Grille courte", "--format", "json", "-o", str(target)).exit_code == 0
    assert target.read_text(encoding="utf-8").startswith("{")


def test_a_broken_file_names_its_field_and_changes_nothing(
    database: object,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "grille.yaml"
    file.write_text("name: Grille\nsteps:\n  - name: A\n    severity: LOW\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["conforme", "config", "import", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "steps.0.prompt" in capsys.readouterr().err
    assert "Grille" not in conforme("config", "list").output


def test_a_wrong_setting_is_named_and_its_value_is_not(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "secret-looking-value")
    monkeypatch.setattr("sys.argv", ["conforme", "migrate"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "PORT" in told
    assert "secret-looking-value" not in told
