from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops import launch, runner
from hummingbird.ops.runner import run_stage, stage_names
from hummingbird.ops.server import connect
from hummingbird.ops.tracking import record_path
from hummingbird.params import Download, Params, dump_params
from hummingbird.runlog import RunLog

Install = Callable[[Any], None]


def test_metrics_time_and_memory_are_written(root: Path, install: Install) -> None:
    install(lambda params, layout, log: {"answer": 42})
    returned = run_stage("toy", root)
    written = json.loads((root / "reports/metrics/toy.json").read_text())
    assert written == returned
    assert written["answer"] == 42.0
    assert 0 < written["wall_s"] < 60
    assert 1e7 < written["peak_memory_bytes"] < 1e11


def test_the_run_is_tracked_with_parameters_curves_and_pictures(
    root: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
        for step in log.progress(range(3), "steps"):
            log.metrics({"loss": 3.0 - step}, step=step)
            log.image("sheet", np.full((8, 8, 3), step, np.uint8), step=step)
        log.artifact(root / "code.py")
        return {"answer": 42.0}

    install(run)
    monkeypatch.setenv("MLFLOW_RUN_ID", "somebody-elses")
    run_stage("toy", root)
    record = json.loads(record_path(Layout(root), "toy").read_text())
    client, _ = connect(root)
    tracked = client.get_run(record["run_id"])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params == {"seed": "7"}
    assert tracked.data.metrics["answer"] == 42.0
    assert tracked.data.tags["stage"] == "toy"
    assert len(tracked.data.tags["dvc.stage_hash"]) == 64
    assert [point.value for point in client.get_metric_history(record["run_id"], "loss")] == [3.0, 2.0, 1.0]
    names = {item.path for item in client.list_artifacts(record["run_id"])}
    assert names == {"code.py", "images"}
    assert len(list((root / "mlartifacts").rglob("*.png"))) == 3


def test_how_a_training_ran_on_the_machine_is_tracked_with_it(
    root: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TRAINING", ("toy",))
    install(lambda params, layout, log: {"answer": 42})
    run_stage("toy", root)
    record = json.loads(record_path(Layout(root), "toy").read_text())
    tracked = connect(root)[0].get_run(record["run_id"]).data.params
    assert tracked["training.strategy"] == "ddp"
    assert tracked["training.guard.patience"] == "5"


def test_global_generators_start_from_the_seed(root: Path, install: Install) -> None:
    def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
        return {"python": random.random(), "numpy": float(np.random.rand())}

    install(run)
    first, second = run_stage("toy", root), run_stage("toy", root)
    assert (first["python"], first["numpy"]) == (second["python"], second["numpy"])


class NotedInspector:
    """Notes what it is asked to check."""

    asked: ClassVar[list[str]] = []

    def __init__(self, layout: Layout) -> None:
        self.asked.append("start")

    def __enter__(self) -> NotedInspector:
        return self

    def __exit__(self, *error: object) -> None: ...

    def check(self, table_of: str) -> None:
        self.asked.append(table_of)


@pytest.mark.parametrize(
    ("reads", "writes", "expected"),
    [
        ({}, (), ["run"]),
        ({"toy": "download"}, (), ["start", "download", "run"]),
        ({}, ("toy",), ["start", "run", "toy"]),
        ({"toy": "download"}, ("toy",), ["start", "download", "run", "toy"]),
    ],
)
def test_gates_stand_before_and_behind_a_stage(
    root: Path,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    reads: dict[str, str],
    writes: tuple[str, ...],
    expected: list[str],
) -> None:
    NotedInspector.asked.clear()
    monkeypatch.setattr(runner, "Inspector", NotedInspector)
    monkeypatch.setattr(runner.gates, "READS", reads)
    monkeypatch.setattr(runner.gates, "WRITES", writes)
    install(lambda params, layout, log: NotedInspector.asked.append("run") or {})
    run_stage("toy", root)
    assert NotedInspector.asked == expected


@pytest.mark.parametrize("touched", ["code.py", "big.bin", "params.yaml"])
def test_a_dependency_that_changes_meanwhile_fails_the_stage(root: Path, install: Install, touched: str) -> None:
    def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
        content = dump_params(Params(seed=8)).encode() if touched == "params.yaml" else bytes(3 << 20)
        (root / touched).write_bytes(content)
        return {}

    install(run)
    with pytest.raises(UserError, match=f"{touched} changed while stage toy ran"):
        run_stage("toy", root)
    assert not (root / "reports/metrics/toy.json").exists()


def test_a_parameter_of_another_stage_may_change_meanwhile(root: Path, install: Install) -> None:
    def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
        (root / "params.yaml").write_text(dump_params(Params(seed=7, download=Download(clips=5))))
        return {}

    install(run)
    run_stage("toy", root)


def test_a_failing_stage_is_a_failed_run_and_says_how_to_go_on(
    root: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
        log.metrics({"loss": 1.0}, step=1)
        raise RuntimeError("out of luck")

    install(run)
    with pytest.raises(RuntimeError, match="out of luck"):
        run_stage("toy", root)
    assert "dvc repro toy" in capsys.readouterr().err
    assert not record_path(Layout(root), "toy").exists()
    client, experiment = connect(root)
    (tracked,) = client.search_runs([experiment])
    assert tracked.info.status == "FAILED"
    assert "out of luck" in tracked.data.tags["error"]
    figures = {name: value for name, value in tracked.data.metrics.items() if not name.startswith("system/")}
    assert figures == {"loss": 1.0}


def test_sigterm_stops_cleanly(root: Path, install: Install) -> None:
    def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    install(run)
    with pytest.raises(KeyboardInterrupt):
        run_stage("toy", root)
    client, experiment = connect(root)
    assert client.search_runs([experiment])[0].info.status == "KILLED"
    assert not (root / "reports/metrics/toy.json").exists()


def test_a_measurement_that_is_no_number_is_refused(root: Path, install: Install) -> None:
    install(lambda params, layout, log: {"loss": float("nan")})
    with pytest.raises(UserError, match="no finite number for loss"):
        run_stage("toy", root)


def test_wrong_names_and_missing_inputs_are_explained(root: Path, install: Install) -> None:
    install(lambda params, layout, log: {})
    with pytest.raises(UserError, match="did you mean 'toy'"):
        run_stage("tyo", root)
    (root / "code.py").unlink()
    with pytest.raises(UserError, match=r"needs code\.py"):
        run_stage("toy", root)


def test_an_unwritable_folder_is_explained(root: Path, install: Install) -> None:
    install(lambda params, layout, log: {})
    (root / "reports").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*reports"):
        run_stage("toy", root)


def test_stage_names_are_the_modules() -> None:
    assert set(stage_names()) <= {path.stem for path in Path("src/hummingbird/stages").glob("*.py")}


def test_checkpoints_stay_until_what_was_trained_is_accepted(
    root: Path, install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Layout(root).work("toy", "key") / "step_00000001.pt"

    def edited(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_bytes(b"x")
        (root / "code.py").write_text("x = 2\n")
        return {}

    monkeypatch.setattr(launch, "TRAINING", ("toy",))
    install(edited)
    with pytest.raises(UserError, match=r"code\.py changed while stage toy ran"):
        run_stage("toy", root)
    assert checkpoint.is_file()

    install(lambda params, layout, log: {})
    run_stage("toy", root)
    assert "began with other code (code.py)" in capsys.readouterr().err
    assert not checkpoint.exists()
    run_stage("toy", root)
    assert "other code" not in capsys.readouterr().err
