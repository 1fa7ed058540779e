"""The command line: exit codes, and errors that name the cause and the next step instead of a traceback."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.settings import Settings
from hummingbird import telemetry
from hummingbird.cli import app
from hummingbird.doctor import check_services
from hummingbird.errors import UserError
from hummingbird.files import write_json
from hummingbird.ops.services.site import Site
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
    for command in (
        "stage",
        "flow",
        "generate",
        "curate",
        "finetune",
        "miniature",
        "doctor",
        "params",
        "profile",
        "checkpoints",
        "parity",
        "prune",
        "lineage",
        "register",
        "promote",
        "rollback",
        "registry",
        "services",
        "storage",
        "track",
    ):
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


def test_profiles_are_listed_shown_used_and_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (folder / "profiles").mkdir()
    (folder / "profiles/plain.yaml").write_text("# What it was. More of it.\n" + dump_params(Params()))
    (folder / "profiles/other.yaml").write_text(dump_params(Params(seed=9)))
    listed = runner.invoke(app, ["profile", "list"]).output
    assert re.search(r"active\W+plain\W+What it was\b", listed)
    assert runner.invoke(app, ["profile", "use", "other"]).output == "params.yaml is now profile other\n"
    assert "seed: 9" in (folder / "params.yaml").read_text()
    assert runner.invoke(app, ["profile", "show", "other"]).output == (folder / "profiles/other.yaml").read_text()
    assert re.search(r"seed\W+1\W+9\b", runner.invoke(app, ["profile", "diff", "plain"]).output)
    assert "are the same" in runner.invoke(app, ["profile", "diff", "other"]).output
    assert runner.invoke(app, ["profile", "use", "othre"]).exit_code == 2


def test_edits_that_no_profile_holds_are_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "profiles").mkdir()
    (folder / "profiles/plain.yaml").write_text(dump_params(Params()))
    for edited in (dump_params(Params(seed=7)), "half written"):
        (folder / "params.yaml").write_text(edited)
        result = runner.invoke(app, ["profile", "use", "plain"])
        assert (result.exit_code, (folder / "params.yaml").read_text()) == (2, edited)
        assert "they would be lost" in result.stderr
        assert "--force" in result.stderr
    assert runner.invoke(app, ["profile", "use", "plain", "--force"]).exit_code == 0
    assert "seed: 1\n" in (folder / "params.yaml").read_text()


def test_checkpoints_are_fetched_listed_and_verified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], check=True)
    (folder / "got").mkdir()
    (folder / "got/DOVER.pth").write_bytes(b"weights")
    refused = runner.invoke(app, ["checkpoints", "fetch", "dover", "--from", "got"])
    assert refused.exit_code == 2
    assert "S-Lab License 1.0: non-commercial use only" in refused.output
    assert "--accept-licenses" in refused.stderr
    done = runner.invoke(app, ["checkpoints", "fetch", "dover", "--from", "got", "--accept-licenses"])
    assert "dover: fetched, in checkpoints/files/dover" in done.output
    listed = runner.invoke(app, ["checkpoints", "list"]).output
    assert re.search(r"dover\W+DOVER.*│ here .*\n.*│ 0\.0 MB .*\n.*│ pinned by fetch ", listed)
    assert re.search(r"videocrafter2\W+VideoCrafter2 512.*│ - .*\n.*│ size unknown .*\n.*│ unpinned ", listed)
    assert runner.invoke(app, ["checkpoints", "verify"]).stdout == "1 of 1 files are as recorded\n"
    file = folder / "checkpoints/files/dover/DOVER.pth"
    file.chmod(0o644)
    file.write_bytes(b"damage!")
    found = runner.invoke(app, ["checkpoints", "verify"])
    assert found.exit_code == 1
    assert "checkpoints/files/dover/DOVER.pth: damaged" in found.output
    assert "next: hummingbird checkpoints fetch dover" in found.output


def test_checkpoints_are_those_of_the_parameters_unless_named(folder: Path) -> None:
    result = runner.invoke(app, ["checkpoints", "fetch"])
    assert "names no public checkpoints" in result.stderr
    result = runner.invoke(app, ["checkpoints", "fetch", "dovre"])
    assert "did you mean 'dover'?" in result.stderr


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
    seen = []

    def run_flow(settings: Settings) -> int:
        seen.append(settings)
        return 1

    monkeypatch.setattr("flows.pipeline.run_flow", run_flow)
    words = ["flow", "run", "encode", "--force", "--profile", "small", "--set", "seed=3"]
    assert runner.invoke(app, words).exit_code == 1
    assert seen == [Settings(targets=["encode"], profile="small", force=True, overrides={"seed": 3})]


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
    assert "none started here" in result.output  # servers


def test_the_doctor_knows_the_servers_that_were_started_here(tmp_path: Path) -> None:
    write_json(Site(tmp_path).state_path, {"s3": {"port": 9000, "pid": os.getpid(), "created": 0.0}})
    finding = check_services(tmp_path)
    assert (finding.ok, finding.detail) == (None, "s3 died; next: make services")
