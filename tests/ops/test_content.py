"""What MLflow gets of a stage's run besides what the stage itself says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from hummingbird.data.clips import SCHEMA
from hummingbird.errors import UserError
from hummingbird.files import write_json
from hummingbird.layout import Layout
from hummingbird.ops import gates, launch, machine, runner, server, snapshot, tracking
from hummingbird.ops.dvc_project import remote_url
from hummingbird.ops.inputs import data_sets
from hummingbird.ops.outputs import summarise
from hummingbird.ops.runner import run_stage

Install = Callable[[Any], None]
MD5 = "0123456789abcdef0123456789abcdef"
FILES = (
    "artifacts/toy/pipeline/unet/weights.safetensors",
    "artifacts/toy/pipeline/unet/config.json",
    "artifacts/toy/pipeline/vae/weights.safetensors",
    "reports/curves/toy.csv",
    *(f"reports/toy/samples/model/{number}.mp4" for number in range(5)),
)
KEPT = {*FILES[:2], *FILES[3:7], "reports/metrics/toy.json"}


def declare(root: Path, **lists: Any) -> None:
    toy = {"cmd": "hummingbird stage toy", "deps": ["code.py", "big.bin"], **lists}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"toy": toy}}))


def run_of(root: Path) -> Any:
    client, _ = server.connect(root)
    return client.get_run(json.loads(tracking.record_path(Layout(root), "toy").read_text())["run_id"])


def all_files(root: Path) -> set[str]:
    """Paths of the artifacts of the run that made the toy's outputs."""
    top = Path(run_of(root).info.artifact_uri.removeprefix("file://"))
    return {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}


def test_weights_that_were_trained_figures_curves_and_a_few_videos_are_kept(
    root: Path, install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(params: Any, layout: Layout, log: Any) -> dict[str, float]:
        for name in FILES:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("{}")
        log.video("samples/step_1/0", np.zeros((4, 16, 16, 3), np.uint8), 8.0)
        return {"answer": 1.0}

    declare(
        root,
        outs=["artifacts/toy", "reports/toy", "reports/runs/toy.json"],
        metrics=[{"reports/metrics/toy.json": {"cache": False}}],
        plots=[{"reports/curves/toy.csv": {"x": "step"}}],
    )
    monkeypatch.setattr(launch, "TRAINING", ("toy",))
    install(run)
    run_stage("toy", root)
    assert all_files(root) == KEPT | {"samples/step_1/0.mp4"}
    assert "warning" not in capsys.readouterr().err


def test_a_clip_table_is_kept_as_a_summary(tmp_path: Path) -> None:
    empty = dict.fromkeys(SCHEMA)
    rows = [
        {**empty, "clip_id": str(n), "kept": not reason, "reason": reason}
        for n, reason in enumerate(["", "", "dark: 0.1", "dark: 0.2", "still"])
    ]
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(tmp_path / "clips.parquet")
    found = summarise(tmp_path / "clips.parquet")
    assert (found["rows"], found["kept"], found["dropped"]) == (5, 2, {"dark": 2, "still": 1})
    assert found["columns"]["kept"] == "Boolean"


def test_data_sets_have_the_hashes_of_dvc_and_lead_to_their_bytes(root: Path, install: Install) -> None:
    declare(root, deps=["code.py", "big.bin", "data/raw", "artifacts/foundation/vae"])
    for folder in ("data/raw", "artifacts/foundation/vae"):
        (root / folder).mkdir(parents=True)
    outs = {"download": ("data/raw", f"{MD5}.dir"), "foundation": ("artifacts/foundation", f"{MD5[::-1]}.dir")}
    lock = {stage: {"outs": [{"path": path, "md5": md5}]} for stage, (path, md5) in outs.items()}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = s3://bucket/dvc\n")
    install(lambda params, layout, log: {"answer": 1.0})
    run_stage("toy", root)
    found = {it.dataset.name: it.dataset for it in run_of(root).inputs.dataset_inputs}
    assert set(found) == {"big.bin", "data/raw", "artifacts/foundation/vae"}
    assert found["data/raw"].digest == f"{MD5}.dir"
    assert json.loads(found["artifacts/foundation/vae"].source) == {
        "stage": "foundation",
        "out": "artifacts/foundation",
        "md5": f"{MD5[::-1]}.dir",
        "remote": f"s3://bucket/dvc/files/md5/{MD5[::-1][:2]}/{MD5[::-1][2:]}.dir",
    }
    before = found["big.bin"].digest
    (root / "big.bin").write_bytes(bytes(3 << 20))
    (again,) = [it for it in data_sets(root, "toy", snapshot.take(root, "toy", {})) if it["name"] == "big.bin"]
    assert again["digest"] != before


def test_a_project_without_a_remote_has_no_addresses(tmp_path: Path) -> None:
    assert remote_url(tmp_path) is None


def test_the_machine_is_measured_before_after_and_meanwhile(root: Path, install: Install) -> None:
    install(lambda params, layout, log: {"answer": 1.0})
    run_stage("toy", root)
    figures = run_of(root).data.metrics
    assert 0 < figures["system/system_memory_usage_percentage"] <= 100
    assert figures["system/system_memory_usage_megabytes"] > 100
    said: list[int] = []
    with machine.watched(lambda values, count: said.append(count), every=0.01):
        while len(said) < 4:
            pass
    assert said == list(range(len(said)))
    said.clear()
    with machine.watched(lambda values, count: said.append(count), every=None):
        pass
    assert said == [0, 1]


class Refusing:
    """An inspector whose tables all fail."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def __enter__(self) -> Refusing:
        return self

    def __exit__(self, *error: object) -> None: ...

    def check(self, table_of: str) -> None:
        page = self.layout.reports / gates.SITE / f"{table_of}.html"
        page.parent.mkdir(parents=True)
        page.write_text("what failed")
        raise UserError("the table breaks its contract", "mend it")


def test_the_page_of_a_failed_gate_is_kept_with_the_run(
    root: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "Inspector", Refusing)
    monkeypatch.setattr(runner.gates, "WRITES", ("toy",))
    install(lambda params, layout, log: {"answer": 1.0})
    with pytest.raises(UserError, match="breaks its contract"):
        run_stage("toy", root)
    client, experiment = server.connect(root)
    (failed,) = client.search_runs([experiment])
    assert failed.info.status == "FAILED"
    assert Path(client.download_artifacts(failed.info.run_id, "toy.html")).read_text() == "what failed"


def test_a_restored_stage_has_the_address_of_its_producer(
    root: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(lambda params, layout, log: {"answer": 1.0})
    run_stage("toy", root)
    producer = run_of(root).info
    client, experiment = server.connect(root)
    with tracking.pipeline_run(root, "flow") as parent:
        tracking.log_restored(Layout(root), "toy", parent)
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    path = f"/#/experiments/{producer.experiment_id}/runs/{producer.run_id}"
    assert child.data.tags["producer_run_url"] == path
    assert f"({path})" in child.data.tags["mlflow.note.content"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000/")
    assert re.fullmatch("http://host:5000/#/experiments/1/runs/x", tracking.server.run_url(root, "x", "1"))


def test_a_stage_of_unknown_making_has_an_unknown_producer(root: Path) -> None:
    write_json(tracking.record_path(Layout(root), "toy"), {"run_key": "never-heard-of"})
    with tracking.pipeline_run(root, "flow") as parent:
        tracking.log_restored(Layout(root), "toy", parent)
    client, experiment = server.connect(root)
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert child.data.tags["producer_run_id"] == "unknown"
