"""MLflow: one parent run per run of the pipeline, one child per stage.

Runs go to ``mlflow.db`` and ``mlartifacts/`` in the project folder, or to the server in ``MLFLOW_TRACKING_URI``; while
it is away they wait on the disk (:mod:`hummingbird.ops.outbox`). The flow opens the parent and hands it down in
``HUMMINGBIRD_PARENT_RUN_ID`` (not ``MLFLOW_RUN_ID``, which makes the child write into its parent, MLflow issue 15713).
Under plain ``dvc repro`` the stages of one invocation share a parent, whose key is made of what names the ``dvc``
process. A stage run by hand is a run without a parent.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.layout import Layout
from hummingbird.ops import server
from hummingbird.ops.checkout import git_tags
from hummingbird.ops.delivery import find_runs
from hummingbird.ops.outbox import folders
from hummingbird.ops.recording import Recording, recording
from hummingbird.ops.server import connect
from hummingbird.ops.stagelog import StageLog
from hummingbird.ops.syncing import sync

PARENT = "HUMMINGBIRD_PARENT_RUN_ID"
INVOCATION = "hummingbird.invocation"
PARAMS = 100  # of a request, MLflow's own limit


def record_path(layout: Layout, stage: str) -> Path:
    """Which MLflow run made the outputs of ``stage``. A DVC output, so it is restored together with them."""
    return layout.reports / "runs" / f"{stage}.json"


@contextmanager
def pipeline_run(root: Path, name: str) -> Iterator[str]:
    """Open the parent run of a pipeline run and yield what names it to its children."""
    try:
        with recording(root, name, git_tags(root)) as run:
            yield run.reference
    finally:
        _send_left(root)


def _send_left(root: Path) -> None:
    """What stages left in the outbox: they were killed, or ended while MLflow did not know their parent."""
    if folders(root):
        with suppress(UserError):
            sync(root, connect(root))


@contextmanager
def stage_run(layout: Layout, stage: str, params: Mapping[str, Any], stage_hash: str) -> Iterator[StageLog]:
    """Open the child run of a stage, with its parameters logged, and write :func:`record_path` when it succeeds."""
    os.environ.pop("MLFLOW_RUN_ID", None)
    tags = {**git_tags(layout.root), "stage": stage, "dvc.stage_hash": stage_hash}
    with _parent(layout.root) as parent, recording(layout.root, stage, tags, parent) as run:
        _log_params(run, params)
        yield StageLog(run)
        record = {"stage": stage, "run_id": run.run_id, "run_key": run.key, "parent_run_id": parent}
        write_json(record_path(layout, stage), {**record, "finished_at": time.time(), **tags})


@contextmanager
def single_run(root: Path, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[StageLog]:
    """Open a run that belongs to no run of the pipeline, with its parameters logged."""
    with recording(root, name, {**git_tags(root), **tags}) as run:
        _log_params(run, params)
        yield StageLog(run)


def _log_params(run: Recording, params: Mapping[str, Any]) -> None:
    """Record nested parameters flat, as ``section.key``."""
    values = [(key, str(value)) for key, value in flat(params).items()]
    for first in range(0, len(values), PARAMS):
        run.say({"params": dict(values[first : first + PARAMS])})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out


def log_restored(layout: Layout, stage: str, parent: str) -> None:
    """Record that ``stage`` did not run in the pipeline run ``parent``: a child that points to the run which made the
    outputs now in place."""
    tags = {"stage": stage, "cached": "true", **_producer(layout.root, read_json(record_path(layout, stage)))}
    with recording(layout.root, stage, {**git_tags(layout.root), **tags}, parent):
        pass


def _producer(root: Path, made_by: Mapping[str, Any]) -> dict[str, str]:
    """Tags that lead to the run in a stage's record; one that ended while MLflow was away has its id only since it was
    sent. MLflow shows ``mlflow.note.content``, Markdown, on top of the run's page."""
    key = str(made_by.get("run_key", ""))
    run_id = made_by.get("run_id")
    from mlflow.exceptions import MlflowException

    try:
        connection = connect(root)
        found = [run_id] if run_id else find_runs(*connection, key) if key else []
    except (server.UnreachableError, MlflowException):  # the run that gets these tags waits in the outbox, too
        return {"producer_run_id": run_id or "unknown", "producer_run_key": key}
    if not found:
        return {"producer_run_id": "unknown"}
    url = server.run_url(root, found[0], connection[1])
    note = f"Not run: what it would make was there already, from [run {found[0]}]({url})."
    return {"producer_run_id": found[0], "producer_run_url": url, "mlflow.note.content": note}


@contextmanager
def _parent(root: Path) -> Iterator[str | None]:
    """The run above a stage's: the flow's, or that of all stages of one ``dvc repro``; None if there is neither."""
    given, invocation = os.environ.get(PARENT), _invocation()
    if given or invocation is None:
        yield given or None
        return
    key = uuid.uuid5(uuid.NAMESPACE_URL, invocation).hex
    with recording(root, "dvc repro", {**git_tags(root), INVOCATION: invocation}, key=key) as run:
        run.say({"status": "RUNNING"})  # the stage before has ended it
        yield run.reference


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
