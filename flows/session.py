"""All that one run of the pipeline needs around its stages: its folder, its MLflow parent, the machine's devices, and
the signs of life that tell the next run what became of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows import artifacts, worktree
from flows.devices import Devices, Pools, find_devices
from flows.folder import working_folder
from flows.pipeline import Plan, make_plan
from flows.reaper import alive, reap
from flows.repro import LAUNCHER, StageRunner
from flows.settings import Settings
from hummingbird.layout import Layout
from hummingbird.ops import launch, server, tracking
from hummingbird.ops.checkout import git_tags, uncommitted
from hummingbird.params import load_params
from hummingbird.profiles import ACTIVE

FAR = 64  # stages at a time where a launcher sends them to other machines

Logger = logging.Logger | logging.LoggerAdapter[Any]


@dataclass
class Session:
    """One run at work in ``runner.root``."""

    settings: Settings
    plan: Plan
    runner: StageRunner
    parent: str = ""
    devices: Devices = field(default_factory=Devices)
    pools: Pools = field(default_factory=lambda: Pools(0, 0))
    outcome: str = "the results are in place"

    def devices_for(self, stage: str) -> int:
        """How many GPUs a stage uses: one for each of the processes that train together."""
        return load_params(self.runner.root / ACTIVE).training.processes if stage in launch.TRAINING else 1

    def finish(self, ran: list[str], logger: Logger) -> None:
        """Show what came out, and keep it on the branch of the run if that has a worktree."""
        artifacts.attempt(lambda: artifacts.show_funnel(Layout(self.runner.root)), logger.warning)
        if self.settings.apart:
            folder = self.runner.root
            worktree.commit_all(folder, f"Results of {', '.join(ran) or 'no stage'}")
            self.outcome = f"to adopt the results: {worktree.how_to_adopt(folder)}"
            logger.info("the results are in %s; %s", folder, self.outcome)


@contextmanager
def open_session(root: Path, settings: Settings, logger: Logger) -> Iterator[Session]:
    """Prepare a run with ``settings`` in the project ``root``. If nothing is to be done (``plan.stale`` is empty), no
    MLflow run is opened.

    Raises:
        UserError: a setting is wrong, or the project, its repository or MLflow cannot be used.
    """
    root = root.absolute()
    with get_client(sync_client=True) as client:
        for name in reap(root, client):
            logger.warning("flow run %s was left behind by a process that was killed; it is marked as crashed", name)
    with (
        alive(root, str(flow_run.id)),
        working_folder(root, settings, logger.info) as folder,
        _recorded_in(root, folder),
    ):
        plan = make_plan(settings.targets, settings.force, folder)
        if not plan.stale:
            yield Session(settings, plan, StageRunner(folder, ""))
            return
        _say_where(folder, settings, logger)
        with tracking.pipeline_run(folder, "flow") as parent:
            artifacts.attempt(lambda: artifacts.show_run(folder, parent, "run", "the pipeline run"), logger.warning)
            yield _session(folder, settings, plan, parent)


def _session(folder: Path, settings: Settings, plan: Plan, parent: str) -> Session:
    far = bool(os.environ.get(LAUNCHER))
    slots = FAR if far else max(2, (os.cpu_count() or 2) // 4)
    runner = StageRunner(folder, parent, force=settings.force, slots=slots)
    if far:  # to machines whose scheduler hands out the devices
        return Session(settings, plan, runner, parent)
    wanted = any(plan.dag.meta[stage].resource == "gpu" for stage in plan.stale)
    devices = find_devices() if wanted else Devices()
    pools = Pools(len(devices.ids), slots)
    pools.make()
    return Session(settings, plan, runner, parent, devices, pools)


def _say_where(folder: Path, settings: Settings, logger: Logger) -> None:
    """Tell in which folder and on which commit the run works, and what differs from it."""
    if settings.apart:
        logger.info("this run works in %s, on branch %s", folder, worktree.branch(folder))
    commit, changed = git_tags(folder)["git.sha"], uncommitted(folder) or []
    if changed:
        logger.warning(
            "%d file(s) differ from commit %s, so the commit alone does not say what makes the results: %s",
            len(changed),
            commit[:12],
            ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else ""),
        )
    artifacts.attempt(lambda: artifacts.show_lineage(changed, commit), logger.warning)


@contextmanager
def _recorded_in(root: Path, folder: Path) -> Iterator[None]:
    """Let a run in a worktree record its runs where those of the project are."""
    if folder == root:
        yield
        return
    try:
        server.connect(root)  # makes the experiment, with its artifacts beside those of the project
    except server.UnreachableError:  # whoever opens the run says so
        if not server.has_answered(root):
            raise
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = server.tracking_uri(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before
