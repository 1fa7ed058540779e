"""What MLflow knows of a run or a model version, for a lineage: read only, and absent rather than an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hummingbird.errors import UserError
from hummingbird.ops import server
from hummingbird.ops.delivery import KEY
from hummingbird.ops.registry.server import NAME

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_VERSION = re.compile(r"(?:models:/)?(?:(?P<name>[^/@]+)[/@])?(?P<which>[^/@]+)")


@dataclass(frozen=True)
class Records:
    """MLflow, if it is there; else ``problem`` says why nothing can be read."""

    client: MlflowClient | None
    problem: str = ""

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Name, state, start (UTC) and tags of a run, by its id or by the key it got while the server was away; None if
        it is not there."""
        found = self._run(run_id)
        if found is None:
            return None
        started = datetime.fromtimestamp(found.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        facts = {"id": found.info.run_id, "name": found.info.run_name, "state": found.info.status}
        return {**facts, "started": started, "tags": dict(found.data.tags)}

    def children(self, run_id: str) -> list[str]:
        """The stages' runs of a run of the pipeline."""
        return [str(it.info.run_id) for it in self._tagged("mlflow.parentRunId", run_id)]

    def versions(self, weights: Iterable[str], runs: Iterable[str | None]) -> list[dict[str, Any]]:
        """Model versions that say they were made of these weights (hashes) or by one of these runs."""
        from mlflow.exceptions import MlflowException

        if self.client is None:
            return []
        known = {*weights, *filter(None, runs)}
        try:
            found = [
                version
                for model in self.client.search_registered_models()
                for version in self.client.search_model_versions(f"name='{model.name}'")
                if known & {*version.tags.values(), version.run_id}
            ]
            return [self._describe(it) for it in found]
        except MlflowException:
            return []

    def version(self, text: str) -> dict[str, Any]:
        """The model version that a user names: ``3``, ``champion``, ``NAME/3``, ``NAME@champion``, ``models:/...``.

        Raises:
            UserError: MLflow does not answer, or has none.
        """
        from mlflow.exceptions import MlflowException

        if self.client is None:
            raise UserError(f"no model versions can be read: {self.problem}", "see MLFLOW_TRACKING_URI")
        match = _VERSION.fullmatch(text)
        if match is None:
            raise UserError(f"{text!r} names no model version", "write 3, champion, NAME/3 or NAME@champion")
        name, which = match["name"] or NAME, match["which"]
        try:
            if which.isdecimal():
                return self._describe(self.client.get_model_version(name, which))
            return self._describe(self.client.get_model_version_by_alias(name, which))
        except MlflowException as error:
            raise UserError(
                f"MLflow has no version or alias {which!r} of model {name!r}", "see its page in MLflow: mlflow ui"
            ) from error

    def _describe(self, found: ModelVersion) -> dict[str, Any]:
        assert self.client is not None
        whole = self.client.get_model_version(found.name, found.version)  # a search leaves the aliases out
        facts = {"model": whole.name, "version": str(whole.version), "aliases": list(whole.aliases)}
        return {**facts, "run_id": whole.run_id, "tags": dict(whole.tags)}

    def _run(self, run_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id) if self.client else None
        except MlflowException:
            return next(iter(self._tagged(KEY, run_id)), None)

    def _tagged(self, tag: str, value: str) -> list[Run]:
        from mlflow.exceptions import MlflowException

        if self.client is None:
            return []
        try:
            experiments = [it.experiment_id for it in self.client.search_experiments()]
            return list(self.client.search_runs(experiments, f"tags.`{tag}` = '{value}'"))
        except MlflowException:
            return []


def open_records(root: Path) -> Records:
    """MLflow as the project in ``root`` uses it. No database is made where there is none."""
    uri = server.tracking_uri(root)
    if "MLFLOW_TRACKING_URI" not in os.environ and not (root / "mlflow.db").is_file():
        return Records(None, "there is no mlflow.db here, and MLFLOW_TRACKING_URI is not set")
    try:
        server.check_server(uri)
    except UserError as error:
        return Records(None, error.problem)
    return Records(server.client_of(root))
