from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops import server, tracking
from hummingbird.ops.runner import run_stage


def test_stages_of_a_flow_are_children_of_its_run(
    root: Path, install: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(lambda params, layout, log: {"answer": 42.0})
    with tracking.pipeline_run(root, "flow") as parent:
        monkeypatch.setenv(tracking.PARENT, parent)
        run_stage("toy", root)
    client, experiment = server.connect(root)
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert [run.info.run_name for run in children] == ["toy"]
    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_run(parent).data.metrics == {}, "the child wrote into its parent"


def test_a_restored_stage_points_to_the_run_that_made_it(root: Path, install: Callable[[Any], None]) -> None:
    install(lambda params, layout, log: {"answer": 42.0})
    run_stage("toy", root)
    producer = json.loads(tracking.record_path(Layout(root), "toy").read_text())["run_id"]
    with tracking.pipeline_run(root, "flow") as parent:
        tracking.log_restored(Layout(root), "toy", parent)
    client, experiment = server.connect(root)
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert child.data.tags["cached"] == "true"
    assert child.data.tags["producer_run_id"] == producer


def test_code_that_git_does_not_know_is_told(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    (tmp_path / "notes.txt").touch()
    assert tracking.git_tags(tmp_path)["git.dirty"] == "false"
    (tmp_path / "src").mkdir()
    (tmp_path / "src/new.py").touch()
    assert tracking.git_tags(tmp_path)["git.dirty"] == "true"


FAKE_DVC = """
import subprocess, sys
code = "from hummingbird.ops import server, tracking; print(tracking._invocation())"
for _ in range(2):
    subprocess.run([sys.executable, "-c", code], check=True)
"""


def test_stages_of_one_dvc_repro_know_it_from_another(tmp_path: Path) -> None:
    dvc = tmp_path / "dvc"
    dvc.write_text(FAKE_DVC)
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, str(dvc), "repro"], capture_output=True, text=True, check=True)
        first, second = done.stdout.split()
        assert first == second
        found.append(first)
    assert found[0] != found[1]


def test_stages_of_one_dvc_repro_share_a_parent(
    root: Path, install: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(lambda params, layout, log: {"answer": 42.0})
    for invocation in ("host-1-5", "host-1-5", "host-2-9", None):
        monkeypatch.setattr(tracking, "_invocation", lambda invocation=invocation: invocation)
        run_stage("toy", root)
    client, experiment = server.connect(root)
    parents = client.search_runs([experiment], f"tags.`{tracking.INVOCATION}` LIKE 'host%'")
    assert sorted(run.data.tags[tracking.INVOCATION] for run in parents) == ["host-1-5", "host-2-9"]
    assert {run.info.status for run in parents} == {"FINISHED"}
    children = [run for run in client.search_runs([experiment]) if "stage" in run.data.tags]
    assert sum("mlflow.parentRunId" in run.data.tags for run in children) == 3


def test_a_dead_server_is_one_clear_error_before_any_work(
    root: Path, install: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    install(lambda params, layout, log: ran.append(1) or {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer") as caught:
        run_stage("toy", root)
    assert "unset MLFLOW_TRACKING_URI" in caught.value.next_step
    assert not ran


def test_an_unknown_kind_of_store_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrier-pigeon://loft")
    with pytest.raises(UserError, match="refuses"):
        server.connect(root)


def test_parameters_are_logged_flat() -> None:
    assert tracking.flat({"seed": 1, "stage1": {"optim": {"steps": 3}, "keep": [1, 2]}}) == {
        "seed": 1,
        "stage1.optim.steps": 3,
        "stage1.keep": [1, 2],
    }
