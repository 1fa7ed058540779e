"""Where the MLflow runs of a pipeline run can be seen."""

from __future__ import annotations

from pathlib import Path

from hummingbird.errors import UserError
from hummingbird.ops import server


def run_link(root: Path, run_id: str | None) -> str | None:
    """The page of a run; the command that shows it where MLflow has no server; None where there is no such run, as
    while the server is down."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    uri = server.shown(server.tracking_uri(root))
    if not uri.startswith(("http://", "https://")):
        return f"MLflow run `{run_id}`, to be seen with `mlflow ui --backend-store-uri {uri}`"
    try:
        client, _ = server.connect(root)
        experiment = client.get_run(run_id).info.experiment_id
    except (UserError, MlflowException, OSError):
        return None
    return server.run_url(root, run_id, experiment)


def newest_run(root: Path, stage: str, parent: str | None) -> str | None:
    """The run that ``stage`` opened last below ``parent``, whatever became of it; None if there is none."""
    from mlflow.exceptions import MlflowException

    if not parent:
        return None
    wanted = f"tags.`mlflow.parentRunId` = '{parent}' and tags.stage = '{stage}'"
    try:
        client, experiment = server.connect(root)
        found = client.search_runs([experiment], wanted, max_results=1, order_by=["attributes.start_time DESC"])
    except (UserError, MlflowException, OSError):
        return None
    return str(found[0].info.run_id) if found else None
