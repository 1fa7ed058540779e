"""MLflow: one parent run per run of the pipeline, one child per stage.

Runs go to ``mlflow.db`` and ``mlartifacts/`` in the project folder, or to the server in ``MLFLOW_TRACKING_URI``.
The flow opens the parent and hands its id down in ``HUMMINGBIRD_PARENT_RUN_ID`` (not ``MLFLOW_RUN_ID``, which makes
the child write into its parent, MLflow issue 15713). Under plain ``dvc repro`` the stages of one invocation find their
parent by a tag that names the ``dvc`` process. A stage run by hand is a run without a parent.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.layout import Layout
from hummingbird.ops.stagelog import StageLog

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "hummingbird"
PARENT = "HUMMINGBIRD_PARENT_RUN_ID"
INVOCATION = "hummingbird.invocation"
QUIET = {  # no telemetry; give up on a dead server in seconds, where MLflow would try for four minutes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def tracking_uri(root: Path) -> str:
    """Where runs are recorded: ``MLFLOW_TRACKING_URI``, else a file in the project folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"


def check_reachable(root: Path) -> None:
    """Ask an MLflow server for its health before any work is done; a local file always is reachable.

    Raises:
        UserError: the server does not answer.
    """
    uri = tracking_uri(root)
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):
            return
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"the MLflow server in MLFLOW_TRACKING_URI does not answer: {reason}",
            "start it, or unset MLFLOW_TRACKING_URI to record runs in mlflow.db",
        ) from error


def connect(root: Path) -> tuple[MlflowClient, str]:
    """A client, and the id of the project's experiment, made if it is not there yet.

    Raises:
        UserError: MLflow cannot be reached or refuses the tracking URI.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    check_reachable(root)
    import logging

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # not the log of every table it makes
    logging.getLogger("alembic").setLevel(logging.WARNING)
    local = None if "MLFLOW_TRACKING_URI" in os.environ else (root.resolve() / "mlartifacts").as_uri()
    try:
        client = MlflowClient(tracking_uri=tracking_uri(root))
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return client, str(experiment.experiment_id)
        return client, str(client.create_experiment(EXPERIMENT, artifact_location=local))
    except MlflowException as error:
        raise UserError(
            f"MLflow at {tracking_uri(root).split('@')[-1]} refuses: {error}", "check MLFLOW_TRACKING_URI"
        ) from error


def record_path(layout: Layout, stage: str) -> Path:
    """Which MLflow run made the outputs of ``stage``. A DVC output, so it is restored together with them."""
    return layout.reports / "runs" / f"{stage}.json"


@contextmanager
def pipeline_run(root: Path, name: str) -> Iterator[str]:
    """Open the parent run of a pipeline run and yield its id."""
    client, experiment = connect(root)
    run_id = str(client.create_run(experiment, run_name=name, tags=git_tags(root)).info.run_id)
    with _terminated(client, run_id):
        yield run_id


@contextmanager
def stage_run(layout: Layout, stage: str, params: Mapping[str, Any], stage_hash: str) -> Iterator[StageLog]:
    """Open the child run of a stage, with its parameters logged, and write :func:`record_path` when it succeeds."""
    client, experiment = connect(layout.root)
    os.environ.pop("MLFLOW_RUN_ID", None)
    parent = os.environ.get(PARENT) or _parent_of_invocation(client, experiment, layout.root)
    tags = {**git_tags(layout.root), "stage": stage, "dvc.stage_hash": stage_hash}
    if parent:
        tags["mlflow.parentRunId"] = parent
    run_id = str(client.create_run(experiment, run_name=stage, tags=tags).info.run_id)
    log_params(client, run_id, params)
    log = StageLog(client, run_id)
    owned = parent if PARENT not in os.environ else None  # the flow ends its own parent
    if owned:
        client.update_run(owned, status="RUNNING")
    with _terminated(client, run_id, owned):
        try:
            yield log
        finally:
            log.flush()
    record = {"stage": stage, "run_id": run_id, "parent_run_id": parent, "finished_at": time.time()}
    write_json(record_path(layout, stage), {**record, **tags})


@contextmanager
def single_run(root: Path, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[StageLog]:
    """Open a run that belongs to no run of the pipeline, with its parameters logged."""
    client, experiment = connect(root)
    run_id = str(client.create_run(experiment, run_name=name, tags={**git_tags(root), **tags}).info.run_id)
    log_params(client, run_id, params)
    log = StageLog(client, run_id)
    with _terminated(client, run_id):
        try:
            yield log
        finally:
            log.flush()


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Log nested parameters flat, as ``section.key``."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flat(params).items()])


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out


def log_restored(layout: Layout, stage: str, parent: str) -> None:
    """Record that ``stage`` did not run in the pipeline run ``parent``: a child that points to the run which made the
    outputs now in place."""
    client, experiment = connect(layout.root)
    made_by = read_json(record_path(layout, stage)).get("run_id", "unknown")
    tags = {"mlflow.parentRunId": parent, "stage": stage, "cached": "true", "producer_run_id": made_by}
    run = client.create_run(experiment, run_name=stage, tags={**git_tags(layout.root), **tags})
    client.set_terminated(run.info.run_id)


@contextmanager
def _terminated(client: MlflowClient, *run_ids: str | None) -> Iterator[None]:
    """End the runs with the status that the block deserves."""
    status = "FINISHED"
    try:
        yield
    except Exception as error:
        status = "FAILED"
        _tag_error(client, run_ids[0], error)
        raise
    except BaseException:  # interrupts of every kind
        status = "KILLED"
        raise
    finally:
        for run_id in filter(None, run_ids):
            client.set_terminated(run_id, status=status)


def _tag_error(client: MlflowClient, run_id: str | None, error: Exception) -> None:
    if run_id:
        client.set_tag(run_id, "error", f"{type(error).__name__}: {error}"[:500])


def _parent_of_invocation(client: MlflowClient, experiment: str, root: Path) -> str | None:
    """The parent shared by the stages of one ``dvc repro``; None if no such process is above this one."""
    invocation = _invocation()
    if invocation is None:
        return None
    found = client.search_runs([experiment], f"tags.`{INVOCATION}` = '{invocation}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {**git_tags(root), INVOCATION: invocation}
    return str(client.create_run(experiment, run_name="dvc repro", tags=tags).info.run_id)


def _invocation() -> str | None:
    import psutil

    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "repro" in words and any(Path(word).name == "dvc" for word in words[:4]):
            return f"{socket.gethostname()}-{process.pid}-{process.create_time():.0f}"
    return None


def git_tags(root: Path) -> dict[str, str]:
    """Commit of the project folder and whether files differ from it."""
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {"git.sha": "unknown"}
    return {"git.sha": commit, "mlflow.source.git.commit": commit, "git.dirty": str(bool(changes)).lower()}


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
