"""Where runs are recorded, and whether it answers. A server that has never answered in this project is a mistake, which
stops the work before it begins; one that has answered before is down, and the work goes on without it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.ops import outage
from hummingbird.ops.outbox import work_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "hummingbird"
TIMEOUT = 5.0  # seconds for a server to say that it is there
SETTINGS = {  # no telemetry, no lines among ours; give up on a dead server in seconds, where MLflow would take minutes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


class UnreachableError(UserError):
    """The server does not answer now. It may do so later."""


def tracking_uri(root: Path) -> str:
    """Where runs are recorded: ``MLFLOW_TRACKING_URI``, else a file in the project folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"


def shown(uri: str) -> str:
    """``uri`` without the credentials that may be in it."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def check_reachable(root: Path) -> None:
    """See that runs can be recorded, before any work is done: now, or by a server that has answered before and is down.

    Raises:
        UserError: the server has never answered, is none of MLflow's, or does not let us in.
    """
    try:
        check_server(tracking_uri(root))
    except UnreachableError as error:
        if not has_answered(root):
            raise
        warn_of_outage(error)


def warn_of_outage(error: UserError) -> None:
    """Say once that a server is down, and what becomes of the record."""
    print(
        f"warning: {error.problem}. The work goes on; its record waits in .work/outbox and is sent when the server "
        "is back: with the next run, or by hummingbird track sync",
        file=sys.stderr,
    )


def has_answered(root: Path) -> bool:
    """Whether the server has ever answered in this project."""
    return shown(tracking_uri(root)) in read_json(_memory(root)).get("answered", [])


def check_server(uri: str) -> None:
    """Ask an MLflow server for its version; a local file or a database has none to ask for.

    Raises:
        UnreachableError: nothing answers there.
        UserError: what answers is of another version, or wants credentials.
    """
    if not uri.startswith(("http://", "https://")):
        return
    _settle()
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(
            get_default_host_creds(uri), "/version", "GET", max_retries=0, timeout=TIMEOUT, raise_on_status=False
        )
    except MlflowException as error:
        raise _unreachable(uri, error.__cause__ or error.__context__ or error) from error
    if answer.status_code >= 500:
        raise _unreachable(uri, f"HTTP status {answer.status_code}")
    if answer.status_code in (401, 403):
        raise _not_let_in(uri, f"HTTP status {answer.status_code}")
    if answer.ok and re.fullmatch(r"\d+\.\d+[\w.+-]*", answer.text.strip()):
        _check_version(uri, answer.text.strip())


def client_of(root: Path) -> MlflowClient:
    """A client that has neither asked for anything nor made anything yet."""
    _settle()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri(root))


def connect(root: Path) -> tuple[MlflowClient, str]:
    """A client, and the id of the project's experiment, made if it is not there yet.

    Raises:
        UnreachableError: the server does not answer.
        UserError: MLflow refuses the tracking URI, the version or the credentials.
    """
    uri = tracking_uri(root)
    _settle()
    check_server(uri)
    import logging

    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # not the log of every table it makes
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with explained(uri):
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, root)
    _remember(root, uri)
    return client, experiment


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database refuse into errors in words.

    Raises:
        UnreachableError: nothing answers there now.
        UserError: the request is not let in or makes no sense there.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    try:
        yield
    except OperationalError as error:
        raise _unreachable(uri, error.orig or error) from error
    except (MlflowException, SQLAlchemyError) as error:
        raise (_unreachable(uri, error) if _is_down(uri, error) else _explained(uri, error)) from error


def run_url(root: Path, run_id: str, experiment: str) -> str:
    """Where a browser finds a run: on the server, or, without one, within whatever page `mlflow ui` serves."""
    uri = shown(tracking_uri(root))
    base = uri.rstrip("/") if uri.startswith(("http://", "https://")) else ""
    return f"{base}/#/experiments/{experiment}/runs/{run_id}"


def version_url(root: Path, model: str, version: int) -> str | None:
    """Where a browser finds a registered version; None without a server."""
    uri = shown(tracking_uri(root))
    return f"{uri.rstrip('/')}/#/models/{model}/versions/{version}" if uri.startswith(("http://", "https://")) else None


def _experiment(client: MlflowClient, root: Path) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        local = None if os.environ.get("MLFLOW_TRACKING_URI") else (root.resolve() / "mlartifacts").as_uri()
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=local))
        except MlflowException:
            found = client.get_experiment_by_name(EXPERIMENT)  # another process was faster
            if found is None:
                raise
    return str(found.experiment_id)


def _settle() -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def _memory(root: Path) -> Path:
    return work_folder(root) / "tracking.json"


def _remember(root: Path, uri: str) -> None:
    known = read_json(_memory(root)).get("answered", [])
    if shown(uri) not in known:
        write_json(_memory(root), {"answered": [*known, shown(uri)]})


def _check_version(uri: str, theirs: str) -> None:
    from mlflow.version import VERSION

    if theirs.split(".")[0] != VERSION.split(".")[0]:
        raise UserError(
            f"the MLflow server at {shown(uri)} is version {theirs}, which does not go with MLflow {VERSION} here",
            f"use a server of version {VERSION.split('.')[0]}, or install the server's version: pip install "
            f"mlflow=={theirs}",
        )


def _unreachable(uri: str, reason: object) -> UnreachableError:
    return UnreachableError(
        f"the MLflow server in MLFLOW_TRACKING_URI ({shown(uri)}) does not answer: {_short(reason)}",
        "start it, or unset MLFLOW_TRACKING_URI to record runs in mlflow.db",
    )


def _is_down(uri: str, error: Exception) -> bool:
    """Whether a server that says its version does not do its work, as with a dead database behind it. MLflow calls
    mistakes of its own library 500 as well, so that without a server only 503 counts."""
    status = outage.http_status(error)
    if not uri.startswith(("http://", "https://")):
        return status == 503
    return status is None or status >= 500 or status in (408, 429)


def _not_let_in(uri: str, reason: object) -> UserError:
    return UserError(
        f"the MLflow server at {shown(uri)} does not let us in: {_short(reason)}", f"set {CREDENTIALS}, then run again"
    )


def _explained(uri: str, error: Exception) -> UserError:
    status = getattr(error, "get_http_status_code", lambda: 0)()
    if status in (401, 403):
        return _not_let_in(uri, error)
    if getattr(error, "error_code", "") == "ENDPOINT_NOT_FOUND":
        return UserError(f"what answers at {shown(uri)} is no MLflow server", "check MLFLOW_TRACKING_URI")
    return UserError(f"MLflow at {shown(uri)} refuses: {_short(error)}", "check MLFLOW_TRACKING_URI")


def _short(reason: object) -> str:
    text = str(reason).strip()
    return text if len(text) < 300 else f"{text[:300]}..."
