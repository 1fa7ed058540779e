"""Runs the pipeline by Prefect, in this process or as a deployment. Looks first whether there is anything to do:
Prefect and MLflow take seconds to import, and an up-to-date pipeline needs neither."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from flows.dag import Dag, changed_stages, read_dag
from hummingbird.errors import UserError
from hummingbird.ops import tracking
from hummingbird.profiles import use_profile

SETTINGS = {  # of Prefect, where the user has not set them
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # its first start makes a database
}


@dataclass(frozen=True)
class Plan:
    """What one run of the pipeline has to do."""

    dag: Dag
    stale: frozenset[str]  # stages that DVC is asked to bring up to date; the others already are
    force: bool = False

    @property
    def order(self) -> list[str]:
        """The stale stages in the order of the graph."""
        return [stage for stage in self.dag.needs if stage in self.stale]


def make_plan(targets: list[str] | None = None, force: bool = False, root: Path = Path()) -> Plan:
    """Ask DVC which stages that ``targets`` need (None: all) are out of date, or depend on one that is.

    Raises:
        UserError: a target is no stage, or there is no pipeline in ``root``.
    """
    dag = read_dag(root).upstream(targets)
    stale = dag.needs if force else dag.downstream(changed_stages(dag, root))
    return Plan(dag, frozenset(stale), force)


def run_flow(targets: list[str] | None = None, profile: str | None = None, force: bool = False) -> int:
    """Run the pipeline in this process, in the current folder. Returns the exit status: 0, or 1 if a stage failed.

    An up-to-date pipeline is left alone: no run is opened, in Prefect or in MLflow.
    """
    if profile:
        use_profile(profile)
    plan = make_plan(targets, force)
    if not plan.stale:
        print(f"All {len(plan.dag.needs)} stages are up to date; nothing to run.")
        return 0
    print(f"To bring up to date: {', '.join(plan.order)}")
    tracking.check_reachable(Path())
    prepare_prefect()
    from flows.tasks import hummingbird

    try:
        state = hummingbird(targets=targets, force=force, return_state=True)
    except RuntimeError as error:
        if "ephemeral" not in str(error):
            raise
        raise UserError(
            f"Prefect's temporary server did not start: {error}",
            "run again; or start one to stay: prefect server start; or do without Prefect: dvc repro",
        ) from error
    if state.is_completed():
        return 0
    print(f"The pipeline did not finish: {state.message}\nTo go on from where it stopped: hummingbird flow run")
    return 1


def serve() -> None:
    """Register the deployment ``hummingbird/pipeline`` and run what the Prefect UI triggers, until interrupted.

    Raises:
        UserError: there is no Prefect server to register with.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise UserError(
            "PREFECT_API_URL is not set, so there is no Prefect server to register with",
            "start one: prefect server start; then: export PREFECT_API_URL=http://127.0.0.1:4200/api",
        )
    prepare_prefect()
    from prefect.deployments.runner import EntrypointType

    from flows.tasks import hummingbird

    hummingbird.serve(
        name="pipeline",
        parameters={"targets": None, "profile": None, "force": False},
        limit=1,  # two runs in one folder would overwrite each other's parameters
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def prepare_prefect() -> None:
    """Set :data:`SETTINGS`, before Prefect is imported, and see that the chosen server answers.

    Raises:
        UserError: the server in ``PREFECT_API_URL`` does not answer.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=10):
            return
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UserError(
            f"the Prefect server in PREFECT_API_URL does not answer: {getattr(error, 'reason', error)}",
            "start it: prefect server start; or unset PREFECT_API_URL to run without one",
        ) from error
