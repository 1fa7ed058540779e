"""The servers' own account of the runs, over HTTP."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.drill.project import Point

PAGE = 1000
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}  # types of Prefect's states


def ask(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON that a server answers with.

    Raises:
        OSError: it does not answer, or says no.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@dataclass(frozen=True)
class Recorded:
    """A run as MLflow has it."""

    id: str
    name: str
    status: str
    tags: Mapping[str, str]
    metrics: frozenset[str]

    @property
    def key(self) -> str:
        return self.tags.get("hummingbird.run_key", "")

    @property
    def is_stage(self) -> bool:
        """Whether it is of a stage that ran, not of one whose outputs were there."""
        return "stage" in self.tags and self.tags.get("cached") != "true"


@dataclass(frozen=True)
class Mlflow:
    """The MLflow server at ``address``."""

    address: str

    def runs(self, since_ms: int) -> list[Recorded]:
        """All runs of the project that began at ``since_ms`` or later."""
        experiment = self._get("experiments/get-by-name", experiment_name="hummingbird")["experiment"]
        wanted = {
            "experiment_ids": [experiment["experiment_id"]],
            "filter": f"attributes.start_time >= {since_ms}",
            "max_results": PAGE,
        }
        found: list[Recorded] = []
        token = ""
        while True:
            page = ask(f"{self.address}/api/2.0/mlflow/runs/search", {**wanted, "page_token": token})
            found += [_recorded(run) for run in page.get("runs", [])]
            if not (token := page.get("next_page_token", "")):
                return found

    def points(self, run: str, name: str) -> list[Point]:
        """The whole history of a metric, doubles included."""
        found: list[Point] = []
        token = ""
        while True:
            page = self._get(
                "metrics/get-history", run_id=run, metric_key=name, max_results=str(PAGE), page_token=token
            )
            found += [(name, int(it.get("step", 0)), float(it["value"])) for it in page.get("metrics", [])]
            if not (token := page.get("next_page_token", "")):
                return found

    def artifacts(self, run: str) -> set[str]:
        """Paths of the artifacts on top of a run."""
        return {file["path"] for file in self._get("artifacts/list", run_id=run).get("files", [])}

    def _get(self, what: str, **query: str) -> Any:
        given = {name: value for name, value in query.items() if value}
        return ask(f"{self.address}/api/2.0/mlflow/{what}?{urllib.parse.urlencode(given)}")


def _recorded(run: Mapping[str, Any]) -> Recorded:
    data, info = run.get("data", {}), run["info"]
    tags = {tag["key"]: tag["value"] for tag in data.get("tags", [])}
    names = frozenset(metric["key"] for metric in data.get("metrics", []))
    return Recorded(info["run_id"], info.get("run_name", ""), info["status"], tags, names)


@dataclass(frozen=True)
class Prefect:
    """The Prefect server whose interface is at ``api``."""

    api: str

    def start(self) -> str:
        """Start a run of the pipeline, as its page in the UI does. Returns its id."""
        deployment = ask(f"{self.api}/deployments/name/hummingbird/pipeline")["id"]
        run = ask(f"{self.api}/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        return str(run["id"])

    def state(self, run: str) -> tuple[str, str]:
        """Type and message of the state of a flow run."""
        state = ask(f"{self.api}/flow_runs/{run}")["state"]
        return state["type"], state.get("message") or ""

    def occupied(self) -> dict[str, int]:
        """Slots that are taken, of each concurrency limit that has any."""
        limits = ask(f"{self.api}/v2/concurrency_limits/filter", {})
        return {limit["name"]: limit["active_slots"] for limit in limits if limit["active_slots"]}
