"""The command line: exit codes, and errors that name the cause and the next step instead of a traceback."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hummingbird import telemetry
from hummingbird.cli import app
from hummingbird.errors import UserError
from hummingbird.params import Params, dump_params

runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with valid parameters, as the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(dump_params(Params()))
    return tmp_path


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the stage runner raise ``error``."""

    def run_stage(name: str, root: Path) -> dict[str, float]:
        raise error

    monkeypatch.setattr("hummingbird.ops.runner.run_stage", run_stage)


def test_help_lists_every_command_and_needs_no_heavy_import() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from hummingbird.cli import app\n"
        "print(CliRunner().invoke(app, ['--help']).output)\n"
        "sys.exit(bool({'torch', 'mlflow', 'prefect', 'dvc', 'diffusers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("stage", "flow", "generate", "miniature", "parity", "prune", "doctor", "params"):
        assert command in done.stdout


def test_a_user_error_is_printed_without_traceback(folder: Path) -> None:
    (folder / "params.yaml").write_text("sede: 1\n")
    result = runner.invoke(app, ["params", "check"])
    assert result.exit_code == 2
    assert "sede: unknown parameter; did you mean 'seed'?" in result.stderr
    assert "next:" in result.stderr
    assert "Traceback" not in result.output


def test_debug_lets_the_error_through(folder: Path) -> None:
    result = runner.invoke(app, ["--debug", "params", "check", "nowhere.yaml"])
    assert isinstance(result.exception, UserError)


def test_valid_parameters_pass(folder: Path) -> None:
    result = runner.invoke(app, ["params", "check"])
    assert (result.exit_code, result.output) == (0, "params.yaml is a valid, complete parameter set\n")


def test_a_profile_becomes_the_active_one(folder: Path) -> None:
    (folder / "profiles").mkdir()
    (folder / "profiles/other.yaml").write_text(dump_params(Params(seed=9)))
    assert runner.invoke(app, ["params", "use", "other"]).exit_code == 0
    assert "seed: 9" in (folder / "params.yaml").read_text()
    assert runner.invoke(app, ["params", "use", "othre"]).exit_code == 2


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, "no space left to write big.tar"), (errno.EACCES, "no permission to use big.tar")],
)
def test_a_full_disk_and_a_missing_right_are_explained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    fail_with(monkeypatch, OSError(number, "reason", "big.tar"))
    result = runner.invoke(app, ["stage", "download"])
    assert result.exit_code == 2
    assert expected in result.stderr


def test_any_other_error_keeps_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, OSError(errno.EIO, "input/output error"))
    result = runner.invoke(app, ["stage", "download"])
    assert (result.exit_code, type(result.exception)) == (1, OSError)


def test_an_interrupt_says_how_to_resume(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    result = runner.invoke(app, ["stage", "download"])
    assert result.exit_code == 130
    assert "To resume: hummingbird stage download" in result.stderr


def test_an_unknown_stage_gets_the_nearest_name(folder: Path) -> None:
    result = runner.invoke(app, ["stage", "downlod"])
    assert result.exit_code == 2
    assert "did you mean 'download'?" in result.stderr


def test_the_exit_code_of_a_flow_is_passed_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def run_flow(**options: object) -> int:
        seen.update(options)
        return 1

    monkeypatch.setattr("flows.pipeline.run_flow", run_flow)
    assert runner.invoke(app, ["flow", "run", "encode", "--force", "--profile", "small"]).exit_code == 1
    assert seen == {"targets": ["encode"], "profile": "small", "force": True}


def test_commands_switch_telemetry_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in telemetry.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    assert telemetry.left_on() == list(telemetry.SWITCHES)
    runner.invoke(app, ["params", "check"])
    assert telemetry.left_on() == []
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    assert telemetry.left_on() == ["DO_NOT_TRACK"]


def test_the_doctor_reports_all_checks_and_fails_if_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "200")
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "does not answer" in result.output  # MLflow
    assert "there is no checkpoint folder" in result.output
    assert "params.yaml is valid, seed 1" in result.output
    assert "checks failed" in result.output
