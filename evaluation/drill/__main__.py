"""Kill each part of the system in turn under a run of the pipeline, put it right, run again, and compare.

    python -m evaluation.drill [FAULT ...] [--out evaluation/results/drill.json]     make drill
    python -m evaluation.drill --short                                               in the tests

The long form uses PostgreSQL, MLflow, Prefect with its worker and an S3 store (``hummingbird services``), in a project
of its own, and runs the pipeline by the deployment as the Prefect UI does. The short form has MLflow on a file and
runs ``dvc repro``. Exit code 1 unless after each fault the pipeline is complete, MLflow has every metric point once and
every run once, and nothing is locked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.drill.checks import Counts, compare_points, compare_runs, stale_locks
from evaluation.drill.disk import Limited, make_disk
from evaluation.drill.faults import FAULTS, SHORT, Fault, Site
from evaluation.drill.project import NEEDS, Project, own_environment, until
from evaluation.drill.rest import Prefect
from evaluation.drill.runs import COMPLETED, Deployed, Plain
from evaluation.drill.servers import OneServer, Servers, Services, mlflow_of
from hummingbird.files import write_json

STEPS = {"long": 100, "short": 60}
PAUSE = 0.15  # seconds a step
STRIKE_AT = 25  # step
HEADINGS = (
    "fault",
    "that run",
    "run again",
    "seconds",
    "points",
    "lost",
    "doubled",
    "runs",
    "doubled",
    "locks",
    "result",
)
LEASE = 120.0  # seconds in which Prefect takes back the slots of a killed run, and some


@dataclass
class Outcome:
    """What became of the pipeline after one fault."""

    fault: str
    what: str
    first: str = ""  # how the run ended that the fault met
    again: str = ""  # how the one after it ended
    seconds: float = 0.0  # from the fault until the pipeline was complete
    counts: Counts = field(default_factory=Counts)
    locks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not (self.wrong or self.locks or self.counts.wrong)


def exercise(site: Site, name: str, fault: Fault, seed: int) -> Outcome:
    """One fault in the middle of a run, all that a user does about it, and the comparison."""
    outcome = Outcome(name, fault.what)
    known, since = set(site.project.told()), int(time.time() * 1000)
    site.project.set_seed(seed)
    first = site.pipeline.start()
    stage = site.project.running("train", known, STRIKE_AT)
    first.process()  # remembered: its sign of life may go with it
    fault.strike(site, first, stage)
    struck = time.monotonic()
    if fault.outage is None:
        outcome.first = first.wait()
        fault.mend(site)
    else:
        time.sleep(fault.outage)
        fault.mend(site)
        outcome.first = first.wait()
    outcome.again = site.pipeline.start().wait()
    outcome.seconds = time.monotonic() - struck
    compare(site, outcome, known, since)
    return outcome


def compare(site: Site, outcome: Outcome, known: set[str], since: int) -> None:
    """Everything that must hold now; into ``outcome``."""
    environment = site.servers.environment()
    if outcome.again != COMPLETED:
        outcome.wrong.append(f"the run after it is {outcome.again}")
    for words, what in (
        (["dvc", "status", "-q"], "DVC finds stages out of date"),
        (["hummingbird", "track", "sync"], "MLflow could not be sent all"),
    ):
        if (done := site.project.attempt(words, environment)).returncode:
            outcome.wrong.append(f"{what}: {done.stdout.strip()[-300:]}")
    mlflow = mlflow_of(environment)
    told = {key: it for key, it in site.project.told().items() if key not in known}
    runs = mlflow.runs(since)
    outcome.counts = compare_runs(told, runs, site.project.stages, begun=2)
    compare_points(told, runs, mlflow, outcome.counts)
    outcome.locks = stale_locks(site.project)
    if isinstance(site.pipeline, Deployed):
        outcome.locks += slots_not_given_back(site.pipeline.prefect)
        outcome.wrong += site.pipeline.open_runs()


def slots_not_given_back(prefect: Prefect) -> list[str]:
    """Slots of concurrency limits that stay taken though nothing runs."""
    try:
        until(lambda: True if not prefect.occupied() else None, "the slots of killed runs", LEASE)
    except TimeoutError:
        return [f"{count} slots of {name}" for name, count in prefect.occupied().items()]
    return []


@contextmanager
def short_site(home: Path) -> Iterator[Site]:
    """The short form: MLflow on a file, ``dvc repro``, and a project without the stage that needs a store."""
    environment = own_environment(home)
    servers = OneServer(home / "mlflow", environment)
    project = Project(home / "project", home / "record", ("prepare", "train"))
    project.folder.mkdir()
    with running(servers):
        project.make({"steps": STEPS["short"], "pause_s": PAUSE}, environment)
        yield Site(project, servers, Plain(project, servers.environment()), Limited())


@contextmanager
def long_site(home: Path) -> Iterator[Site]:
    """All the servers, and a project on a disk that can be filled; the servers' files are on another."""
    environment = own_environment(home)
    project = Project(home / "project", home / "record", tuple(NEEDS))
    project.folder.mkdir()
    disk = make_disk(project.folder)
    try:
        (project.folder / ".work").mkdir()
        (home / "services").mkdir()
        (project.folder / ".work/services").symlink_to(home / "services")
        project.make({"steps": STEPS["long"], "pause_s": PAUSE, "bucket": "s3://hummingbird"}, environment)
        services = Services(project, environment)
        with running(services):
            prefect = Prefect(services.environment()["PREFECT_API_URL"])
            yield Site(project, services, Deployed(project, prefect), disk)
    finally:
        disk.close()


@contextmanager
def running(servers: Servers) -> Iterator[None]:
    """Servers for as long as the block runs."""
    try:
        servers.start()
        yield
    finally:
        servers.stop()


def drill(names: Sequence[str], home: Path, *, short: bool) -> dict[str, Any]:
    """Let the faults in ``names`` happen one after the other, below the folder ``home``; prints how each went."""
    found: list[Outcome] = []
    start = time.monotonic()
    with (short_site if short else long_site)(home) as site:
        disk = site.disk.kind
        try:
            for seed, name in enumerate(names, 1):
                print(f"{name}: {FAULTS[name].what} ...", flush=True)
                found.append(attempt(site, name, seed))
        except KeyboardInterrupt:
            print("interrupted: the rest is not known", flush=True)
    show(found)
    form = "short: dvc repro, MLflow on SQLite" if short else "PostgreSQL, MLflow, Prefect, rclone as S3, a worker"
    took = round(time.monotonic() - start, 1)
    conditions = {"form": form, "full_disk": disk, "cores": os.cpu_count(), "wall_s": took}
    if not short:
        from evaluation.latency.harness import processor_name  # with torch, which takes longer than all other imports

        conditions["processor"] = processor_name()
    return {"conditions": conditions, "passed": len(found) == len(names) and all(it.passed for it in found),
            "faults": [{**asdict(it), "passed": it.passed} for it in found]}  # fmt: skip


def attempt(site: Site, name: str, seed: int) -> Outcome:
    """As :func:`exercise`; an error is an outcome too, for the other faults are worth knowing all the same."""
    try:
        outcome = exercise(site, name, FAULTS[name], seed)
    except Exception as error:
        outcome = Outcome(name, FAULTS[name].what, wrong=[f"{type(error).__name__}: {error}"])
        site.servers.start()
    for problem in [*outcome.wrong, *outcome.counts.wrong, *outcome.locks]:
        print(f"    {problem}", flush=True)
    return outcome


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the table."""
    table = Table(title="Faults in the middle of a run")
    for heading in HEADINGS:
        table.add_column(heading)
    for it in outcomes:
        counts = it.counts
        numbers = (counts.points, counts.lost, counts.doubled, counts.runs, counts.doubled_runs, len(it.locks))
        result = "[green]passed" if it.passed else "[red]failed"
        table.add_row(it.what, it.first, it.again, f"{it.seconds:.0f}", *map(str, numbers), result)
    Console(width=max(120, Console().width)).print(table)


def main() -> None:
    """Drill, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(FAULTS)}; none: all")
    parser.add_argument("--short", action="store_true", help=f"without PostgreSQL, Prefect and S3: {', '.join(SHORT)}")
    parser.add_argument("--keep", action="store_true", help="leave the folder with the logs")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if unknown := set(given.faults) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    home = Path(tempfile.mkdtemp(prefix="hummingbird-drill-")).resolve()
    home.chmod(0o755)  # PostgreSQL may run as another user
    try:
        found = drill(given.faults or (SHORT if given.short else list(FAULTS)), home, short=given.short)
    finally:
        if given.keep:
            print(f"its files are in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    if given.out:
        write_json(given.out, found)
    sys.exit(0 if found["passed"] else 1)


if __name__ == "__main__":
    main()
