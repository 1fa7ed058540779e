from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect import flow_engine
from prefect.client.orchestration import get_client

from flows import pipeline, reaper
from flows.failures import BusyError, StageError
from flows.pipeline import make_plan, run_flow
from flows.repro import StageRunner
from flows.settings import Settings
from hummingbird.errors import UserError
from hummingbird.ops import server
from hummingbird.ops.syncing import sync
from hummingbird.params import Params, dump_params


def all_runs() -> list[Any]:
    client, experiment = server.connect(Path())
    return list(client.search_runs([experiment]))


def newest_flow() -> Any:
    return next(run for run in all_runs() if run.info.run_name == "flow")


def children_of_newest_flow() -> dict[str, Any]:
    """Runs of the stages in the newest pipeline run, by stage."""
    parent = newest_flow().info.run_id
    return {run.info.run_name: run for run in all_runs() if run.data.tags.get("mlflow.parentRunId") == parent}


def log(toys: Path) -> str:
    return (toys / "log").read_text() if (toys / "log").exists() else ""


@pytest.mark.usefixtures("prefect_server")
def test_runs_all_then_nothing_then_only_what_a_knob_reaches(toys: Path) -> None:
    assert run_flow() == 0
    assert log(toys) in ("abcd", "acbd")
    assert (toys / "d").read_text() == "dbaca"

    before = len(all_runs())
    start = time.monotonic()
    assert run_flow() == 0
    assert log(toys) in ("abcd", "acbd"), "an up-to-date pipeline ran something"
    assert len(all_runs()) == before, "an up-to-date pipeline opened a run"
    assert time.monotonic() - start < 20

    (toys / "params.yaml").write_text(dump_params(Params(seed=2)))
    assert make_plan().stale == {"d"}
    assert run_flow() == 0
    assert log(toys)[4:] == "d"
    cached = children_of_newest_flow()
    assert set(cached) == {"a", "b", "c"}, "toy stage d opens no run of its own"
    assert {run.data.tags["producer_run_id"] for run in cached.values()} == {"run-of-a", "run-of-b", "run-of-c"}


@pytest.mark.usefixtures("prefect_server")
def test_targets_and_force(toys: Path) -> None:
    assert run_flow(Settings(targets=["b"])) == 0
    assert log(toys) == "ab"
    assert run_flow(Settings(targets=["b"], force=True)) == 0
    assert log(toys) == "abab"


@pytest.mark.usefixtures("prefect_server")
def test_a_broken_stage_stops_what_needs_it_and_nothing_else(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toys / "break_b").touch()
    assert run_flow() == 1
    assert sorted(log(toys)) == ["a", "c"]
    said = capsys.readouterr().out
    assert "failed: b; not started: d" in said
    assert "hummingbird flow run" in said
    assert newest_flow().info.status == "FAILED"
    (toys / "break_b").unlink()
    assert run_flow() == 0
    assert sorted(log(toys)) == ["a", "b", "c", "d"]


@contextmanager
def locked() -> Iterator[None]:
    """Hold DVC's lock, as another DVC process at work would."""
    hold = "import zc.lockfile; lock = zc.lockfile.LockFile('.dvc/tmp/lock'); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate("\n")


def test_a_busy_dvc_is_told_from_a_broken_stage(toys: Path) -> None:
    runner = StageRunner(toys, "parent")
    with locked():
        with pytest.raises(BusyError):
            runner.run("a", print)
        with pytest.raises(UserError, match="another DVC process"):
            make_plan()
    (toys / "break_a").touch()
    with pytest.raises(StageError, match="dvc repro a"):
        runner.run("a", print)


@pytest.mark.usefixtures("prefect_server")
def test_a_busy_dvc_is_tried_again(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    really_run = StageRunner.run

    def busy_once(self: StageRunner, stage: str, say: Callable[[str], None], **how: Any) -> None:
        tried.append(stage)
        if len(tried) == 1:
            raise BusyError
        really_run(self, stage, say, **how)

    monkeypatch.setattr(StageRunner, "run", busy_once)
    assert run_flow(Settings(targets=["a"])) == 0
    assert tried == ["a", "a"]
    assert log(toys) == "a"


def test_a_stage_that_measures_time_runs_alone(toys: Path) -> None:
    runner = StageRunner(toys, "parent", slots=2)
    now: set[str] = set()
    seen: list[set[str]] = []

    def work(stage: str) -> None:
        with runner.slot(alone=stage == "alone"):
            now.add(stage)
            seen.append(set(now))
            time.sleep(0.2)
            now.discard(stage)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, ("b", "c", "alone", "d", "e", "f")))
    assert {"alone"} in seen
    assert max(map(len, seen)) == 2
    assert not [stages for stages in seen if "alone" in stages and len(stages) > 1]


def test_a_stopped_stage_is_gone_with_all_it_started_and_nothing_more_starts(toys: Path) -> None:
    (toys / "sleep").write_text("600")
    runner = StageRunner(toys, "parent")
    mark = toys / "began_a"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner.run, "a", print)
        while not (mark.exists() and mark.read_text()):
            assert not running.done()
            time.sleep(0.2)
        runner.stop()
        with pytest.raises(StageError):
            running.result()
    assert not psutil.pid_exists(int(mark.read_text())), "the stage outlived its runner"
    with pytest.raises(StageError, match="not started"):
        runner.run("b", print)
    (toys / "sleep").unlink()
    StageRunner(toys, "parent").run("a", print)
    assert log(toys) == "a"


def test_a_killed_run_leaves_nothing_behind_and_goes_on(toys: Path, prefect_server: str) -> None:
    (toys / "sleep").write_text("600")
    env = os.environ | {"PREFECT_API_URL": prefect_server, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "from flows.pipeline import run_flow; raise SystemExit(run_flow())"
    flow = subprocess.Popen([sys.executable, "-c", code], env=env)
    try:
        stage = wait_for_number(toys / "began_a", flow)
        flow.send_signal(signal.SIGTERM)
        assert flow.wait(timeout=120) != 0
    finally:
        flow.kill()
    assert not psutil.pid_exists(stage), "the stage outlived its flow"
    assert newest_flow().info.status == "KILLED"
    (toys / "sleep").unlink()
    StageRunner(toys, "parent").run("a", print)
    assert log(toys) == "a"


def wait_for_number(file: Path, process: subprocess.Popen[bytes]) -> int:
    """The number in ``file``, once it is there; ``process`` is to write it."""
    deadline = time.monotonic() + 300
    while not (file.exists() and file.read_text()):
        assert process.poll() is None, f"it ended before it wrote {file.name}"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return int(file.read_text())


@pytest.mark.usefixtures("prefect_server")
def test_a_run_whose_end_prefect_did_not_hear_of_is_crashed_by_the_next(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = flow_engine.propose_state_sync

    def lose_ends(client: Any, state: Any, **about: Any) -> Any:
        if state.is_final():
            raise httpx.ConnectError("All connection attempts failed")
        return tell(client, state, **about)

    with monkeypatch.context() as patched:
        patched.setattr(flow_engine, "propose_state_sync", lose_ends)
        with pytest.raises(UserError, match="Prefect server went away"):
            run_flow(Settings(targets=["a"]))
    assert log(toys) == "a"
    (sign,) = (toys / reaper.FOLDER).iterdir()
    sign.write_text(json.dumps(json.loads(sign.read_text()) | {"started": 0.0}))  # as if this process had ended
    assert run_flow(Settings(targets=["b"])) == 0
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(sign.stem).state  # type: ignore[arg-type]  # it takes text as well
    assert state is not None and state.is_crashed()
    assert not list((toys / reaper.FOLDER).iterdir()), "Prefect knows how both runs ended"


@pytest.mark.usefixtures("prefect_server")
def test_a_run_apart_goes_on_while_mlflow_is_away(
    toys_in_git: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/of-its-own.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (toys_in_git / ".work").mkdir()

    def away(uri: str) -> None:
        raise server.UnreachableError("it does not answer", "start it")

    with monkeypatch.context() as patched:
        patched.setattr(server, "check_server", away)
        with pytest.raises(UserError, match="it does not answer"):
            run_flow(Settings(clean=True, targets=["a"]))
        (toys_in_git / ".work/tracking.json").write_text(json.dumps({"answered": [uri]}))
        assert run_flow(Settings(clean=True, targets=["a"])) == 0
    (folder,) = (path for path in (toys_in_git / ".work/worktrees").iterdir() if path.is_dir())
    assert log(folder) == "a"
    assert sync(toys_in_git, server.connect(toys_in_git)).sent == ["flow"]
    assert newest_flow().info.status == "FINISHED"


def test_a_dead_server_is_one_clear_error(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(UserError, match="PREFECT_API_URL does not answer"):
        run_flow()
    monkeypatch.delenv("PREFECT_API_URL")
    with pytest.raises(UserError, match="PREFECT_API_URL is not set"):
        pipeline.serve()
