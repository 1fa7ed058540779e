"""What can die under a run, one function each. They end only what the drill has started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psutil

from evaluation.drill.disk import Disk
from evaluation.drill.project import Project, until
from evaluation.drill.runs import Pipeline, Run
from evaluation.drill.servers import Servers, kill


@dataclass(frozen=True)
class Site:
    """All that a drill works on."""

    project: Project
    servers: Servers
    pipeline: Pipeline
    disk: Disk


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong while the stage ``train`` is at work.

    ``mend`` is what a user does about it: ``outage`` seconds later, or, if that is None, when the run has ended.
    """

    what: str
    strike: Callable[[Site, Run, psutil.Process], None]
    mend: Callable[[Site], None]
    outage: float | None = None


def kill_stage(site: Site, run: Run, stage: psutil.Process) -> None:
    """``kill -9`` of the stage, as the kernel does when memory runs out."""
    kill(stage, family=True)


def kill_run(site: Site, run: Run, stage: psutil.Process) -> None:
    """``kill -9`` of the process that runs the pipeline; the stages' processes are left."""
    kill(until(run.process, "the run's own process"), family=False)


def kill_worker(site: Site, run: Run, stage: psutil.Process) -> None:
    """``kill -9`` of the process that starts the runs which the Prefect UI asks for; the run's own is left."""
    site.servers.kill("worker", family=False)


def kill_mlflow(site: Site, run: Run, stage: psutil.Process) -> None:
    """``kill -9`` of the MLflow server."""
    site.servers.kill("mlflow")


def kill_prefect(site: Site, run: Run, stage: psutil.Process) -> None:
    """``kill -9`` of the Prefect server."""
    site.servers.kill("prefect")


def kill_s3(site: Site, run: Run, stage: psutil.Process) -> None:
    """``kill -9`` of the S3 server."""
    site.servers.kill("s3")


def fill_disk(site: Site, run: Run, stage: psutil.Process) -> None:
    """No room is left where the project lies."""
    site.disk.fill(stage)


def nothing(site: Site) -> None:
    """There is nothing to do but to run again."""


def start_servers(site: Site) -> None:
    """``hummingbird services start``: it replaces what died."""
    site.servers.start()


def free_disk(site: Site) -> None:
    """Make room."""
    site.disk.free()


FAULTS = {
    "stage": Fault("kill -9 of the stage", kill_stage, nothing),
    "run": Fault("kill -9 of the flow run's process", kill_run, nothing),
    "worker": Fault("kill -9 of the worker", kill_worker, start_servers, outage=5.0),
    "mlflow": Fault("kill -9 of the MLflow server", kill_mlflow, start_servers),
    "prefect": Fault("kill -9 of the Prefect server", kill_prefect, start_servers, outage=15.0),
    "s3": Fault("kill -9 of the S3 server", kill_s3, start_servers),
    "disk": Fault("the disk is full", fill_disk, free_disk),
}
SHORT = ("stage", "mlflow", "disk")  # those that need neither a Prefect server nor a store
