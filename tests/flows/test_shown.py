"""What a failed gate, and code that changes in mid-run, look like through the flow's parts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from flows import artifacts
from flows.failures import StageError
from flows.repro import StageRunner
from flows.tasks import level_of
from hummingbird.errors import UserError
from hummingbird.files import write_json
from hummingbird.layout import Layout
from hummingbird.ops import gates
from hummingbird.params import Params, dump_params

STAGE = """
import sys
from types import ModuleType
from pathlib import Path
from hummingbird.cli import app
from hummingbird.ops import runner

def run(params, layout, log):
    Path("code.py").write_text("changed")
    return {}

module = ModuleType("hummingbird.stages.toy")
module.run = run
sys.modules[module.__name__] = module
runner.stage_names = lambda: ["toy"]
app(["stage", "toy"])
"""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The Markdown artifacts, by key, in place of a server."""
    kept: dict[str, str] = {}
    monkeypatch.setattr(
        artifacts, "create_markdown_artifact", lambda text, key, description="": kept.update({key: text})
    )
    return kept


def test_a_failed_gate_shows_what_was_expected_and_what_was_found(tmp_path: Path, shown: dict[str, str]) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "params.yaml").write_text(dump_params(Params(seed=1)))
    since = time.time() - 1
    path = layout.clip_table("download")
    path.parent.mkdir(parents=True)
    pl.DataFrame({"clip_id": ["<b>"]}).write_parquet(path)
    with pytest.raises(UserError):
        gates.check("download", layout)

    line = artifacts.show_failed_gate(layout, "measure", since, "http://mlflow/#/experiments/1/runs/x")
    assert line is not None and "clips.parquet breaks its contract" in line
    text = shown["gate-measure"]
    assert "has 18 columns, each of its type | 17 of them are not so" in text
    assert f"`{tmp_path}/reports/data_docs/download.html`" in text
    assert "[download.html](http://mlflow/#/experiments/1/runs/x/artifacts/download.html)" in text
    assert "[its MLflow run](http://mlflow/#/experiments/1/runs/x)" in text
    artifacts.show_failed_gate(layout, "measure", since, "MLflow run `x`, to be seen with `mlflow ui`")
    assert "Data docs: download.html; on the machine of the run" in shown["gate-measure"]
    assert "file://" not in text + shown["gate-measure"], "no browser follows it from a page of a server"
    assert artifacts.show_failed_gate(layout, "measure", time.time() + 1, None) is None, "an older failure is no news"
    assert artifacts.show_failed_gate(layout, "report", since, None) is None, "a stage without gates"


def test_the_funnel_is_that_of_the_metrics(tmp_path: Path, shown: dict[str, str]) -> None:
    layout = Layout(tmp_path)
    artifacts.show_funnel(layout)
    assert not shown
    for stage, kept in {"download": 200.0, "vqa_filter": 150.0, "motion_filter": 50.0}.items():
        write_json(layout.metrics(stage), {"clips": 200.0, "kept": kept})
    artifacts.show_funnel(layout)
    assert "200 clips came in" in shown["funnel"]
    assert "| motion_filter | 50 | 25.0% |" in shown["funnel"]


def test_files_that_differ_from_the_commit_are_named(shown: dict[str, str]) -> None:
    artifacts.show_lineage([f"file{i}" for i in range(60)], "c0ffee")
    assert "`file0`" in shown["lineage"] and "and 10 more" in shown["lineage"] and "file55" not in shown["lineage"]


def test_a_server_that_takes_no_artifact_does_not_end_a_run() -> None:
    said: list[str] = []

    def broken() -> None:
        raise OSError("no server")

    artifacts.attempt(broken, said.append)
    assert said == ["the Prefect UI will lack an artifact: OSError: no server"]


def test_lines_have_the_level_they_ask_for() -> None:
    lines = [
        "epoch 1",
        "WARNING: odd",
        "x.py:3: UserWarning: odd",
        "error: no table",
        "Traceback (most recent call last):",
    ]
    assert [level_of(line) for line in lines] == [20, 30, 30, 40, 40]
    assert level_of("ERROR: Unable to acquire lock. Most likely another DVC process is running") == 20, "it waits"


def test_large_figures_are_written_out() -> None:
    assert [artifacts._short(value) for value in (0.0123456789, 120.0, 84.7584, 18309123.0)] == [
        "0.0123457",
        "120",
        "84.7584",
        "18,309,123",
    ]


def test_code_that_changes_while_its_stage_runs_is_an_error_that_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, folder in (("DVC_GLOBAL_CONFIG_DIR", "global"), ("DVC_SITE_CACHE_DIR", "site")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    project = tmp_path / "project"
    project.mkdir()
    (project / "stage.py").write_text(STAGE)
    (project / "code.py").write_text("as it was")
    (project / "params.yaml").write_text(dump_params(Params(seed=1)))
    toy = {"cmd": f"{sys.executable} stage.py", "deps": ["code.py"]}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"toy": toy}}))
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True, cwd=project)
    with pytest.raises(StageError, match=r"code\.py changed while stage toy ran") as caught:
        StageRunner(project, "").run("toy", print)
    assert type(caught.value) is StageError


def test_a_launcher_goes_before_the_command(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "HUMMINGBIRD_LAUNCHER", "env 'MARK=on {gpus} {resource} for {stage}' sh -c 'echo $MARK; exec \"$@\"' sh"
    )
    said: list[str] = []
    StageRunner(toys, "parent").run("a", said.append, resource="gpu", gpus=2)
    assert said[0] == "on 2 gpu for a"
    assert (toys / "log").read_text() == "a"
    for wrong in ("srun {node}", "srun '", "srun {}", "srun {stage.x}"):
        monkeypatch.setenv("HUMMINGBIRD_LAUNCHER", wrong)
        with pytest.raises(UserError, match="HUMMINGBIRD_LAUNCHER cannot be used"):
            StageRunner(toys, "parent").run("a", print)


def test_a_silent_stage_gives_signs_of_life_until_its_time_is_over(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.repro.HEARTBEAT", 0.2)
    (toys / "sleep").write_text("600")
    said: list[str] = []
    with pytest.raises(StageError, match="longer than the 20 s it was given"):
        StageRunner(toys, "parent").run("a", said.append, timeout=20)
    assert any("stage a is at work, for 0." in line for line in said)
    assert not (toys / "a").exists()
