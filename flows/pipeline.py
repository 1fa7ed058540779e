"""Runs the pipeline by Prefect, in this process or as a deployment. Looks first whether there is anything to do:
Prefect and MLflow take seconds to import, and an up-to-date pipeline needs neither."""

from __future__ import annotations

import importlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.dag import Dag, changed_stages, read_dag
from flows.folder import working_folder
from flows.settings import Settings
from hummingbird.errors import UserError
from hummingbird.ops import server

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

SETTINGS = {  # of Prefect, where the user has not set them
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # its first start makes a database
}
SERVED = {"pipeline": "flows.tasks:hummingbird", "registry": "flows.promote:promote"}  # deployment -> its flow
AT_ONCE = 8  # runs of all deployments; those of the pipeline in one folder wait for each other


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


def run_flow(settings: Settings | None = None) -> int:
    """Run the pipeline in this process, in the current folder. Returns the exit status: 0, or 1 if a stage failed.

    An up-to-date pipeline is left alone: no run is opened, in Prefect or in MLflow. Another run in the same folder is
    waited for.

    Raises:
        UserError: a setting is wrong, or a server does not answer.
    """
    settings = settings or Settings()
    with working_folder(Path(), settings, print) as folder:
        plan = make_plan(settings.targets, settings.force, folder)
    if not plan.stale:
        print(f"All {len(plan.dag.needs)} stages are up to date; nothing to run.")
        return 0
    print(f"To bring up to date: {', '.join(plan.order)}")
    server.check_reachable(Path())
    prepare_prefect()
    state = _run(settings)
    if state.is_completed():
        print(state.message)
        return 0
    error = state.result(raise_on_failure=False)
    if isinstance(error, UserError):
        raise error
    again = "the same again" if settings.apart else "hummingbird flow run"
    print(f"The pipeline did not finish: {state.message}\nTo go on from where it stopped: {again}")
    return 1


def _run(settings: Settings) -> Any:
    import httpx

    from flows.tasks import hummingbird

    try:
        return hummingbird(**settings.model_dump(), return_state=True)
    except httpx.TransportError as error:
        raise UserError(
            f"the Prefect server went away: {error or type(error).__name__}",
            "start it again, then go on from where the run stopped: hummingbird flow run",
        ) from error
    except RuntimeError as error:
        if "ephemeral" not in str(error):
            raise
        raise UserError(
            f"Prefect's temporary server did not start: {error}",
            "run again; or start one to stay: prefect server start; or do without Prefect: dvc repro",
        ) from error


def serve(cron: str | None = None) -> None:
    """Register the deployments in :data:`SERVED` and run what the Prefect UI triggers, until interrupted.

    Args:
        cron: when to run the pipeline without being asked, as ``0 3 * * *``; None: never.

    Raises:
        UserError: there is no Prefect server to register with, or ``cron`` is no schedule.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise UserError(
            "PREFECT_API_URL is not set, so there is no Prefect server to register with",
            "start one: prefect server start; then: export PREFECT_API_URL=http://127.0.0.1:4200/api",
        )
    prepare_prefect()
    import prefect

    prefect.serve(*(_deployment(name, cron if name == "pipeline" else None) for name in SERVED), limit=AT_ONCE)


def _deployment(name: str, cron: str | None) -> RunnerDeployment:
    from prefect.deployments.runner import EntrypointType

    module, _, flow = SERVED[name].partition(":")
    try:
        return getattr(importlib.import_module(module), flow).to_deployment(
            name, cron=cron, entrypoint_type=EntrypointType.MODULE_PATH
        )
    except ValueError as error:
        raise UserError(f"--cron {cron!r} is no schedule: {error}", "five fields, as in: --cron '0 3 * * *'") from error


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
