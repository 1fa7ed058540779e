"""The deployment as a user of the Prefect UI meets it: served by its own process, run with parameters, cancelled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.states import Cancelling

from hummingbird.params import load_params

pytestmark = pytest.mark.slow
PATIENCE = 300.0  # seconds, for a machine that is busy


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def served(toys_in_git: Path, prefect_server: str, client: SyncPrefectClient) -> Iterator[Path]:
    """The toy project, served by ``hummingbird flow serve``."""
    env = os.environ | {
        "PREFECT_API_URL": prefect_server,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen([sys.executable, "-m", "hummingbird", "flow", "serve"], env=env)
    try:
        until(lambda: process.poll() is None and deployment(client))
        yield toys_in_git
    finally:
        process.terminate()
        process.wait(60)


def until(done: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := done()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def deployment(client: SyncPrefectClient) -> Any:
    return next(iter(client.read_deployments()), None)


def start(client: SyncPrefectClient, **parameters: Any) -> Any:
    return client.create_flow_run_from_deployment(deployment(client).id, parameters=parameters)


def ended(client: SyncPrefectClient, run: Any) -> Any:
    """The run, once it is over."""

    def final() -> Any:
        now = client.read_flow_run(run.id)
        return now if now.state is not None and now.state.is_final() else None

    return until(final)


def artifacts(client: SyncPrefectClient, run: Any) -> dict[str, Any]:
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return {str(found.key): found for found in client.read_artifacts(artifact_filter=wanted)}


def test_runs_all_then_nothing_then_what_a_knob_of_the_form_reaches(served: Path, client: SyncPrefectClient) -> None:
    run = ended(client, start(client))
    assert run.state.is_completed(), run.state.message
    assert sorted((served / "log").read_text()) == ["a", "b", "c", "d"]
    assert {"mlflow-run", "mlflow-a", "lineage"} <= set(artifacts(client, run))
    until(lambda: not list((served / ".work/flows").iterdir()))  # Prefect hears of the end first

    again = ended(client, start(client))
    assert again.state.message == "All 4 stages are up to date; nothing to run."
    assert len((served / "log").read_text()) == 4

    before = (served / "params.yaml").read_text()
    other = ended(client, start(client, overrides={"seed": 2}))
    assert "Ran d; to adopt the results: git merge flow/" in other.state.message
    (folder,) = (path for path in (served / ".work/worktrees").iterdir() if path.is_dir())
    assert (folder / "log").read_text() == "d"
    assert load_params(folder / "params.yaml").seed == 2
    assert (served / "params.yaml").read_text() == before
    assert "is on commit" in artifacts(client, other)["lineage"].data, "a run apart has a clean tree"

    wrong = ended(client, start(client, overrides={"seed": 2}, targets=["a"], profile="none"))
    assert "no profile 'none'" in wrong.state.message


def test_cancelling_ends_the_stage(served: Path, client: SyncPrefectClient) -> None:
    (served / "sleep").write_text("600")
    run = start(client)
    mark = served / "began_a"
    stage = int(until(lambda: mark.exists() and mark.read_text()))
    client.set_flow_run_state(run.id, Cancelling())
    assert ended(client, run).state.is_cancelled()
    until(lambda: not psutil.pid_exists(stage))
    (served / "sleep").unlink()
    assert ended(client, start(client, targets=["a"])).state.is_completed()
    assert (served / "log").read_text() == "a"
