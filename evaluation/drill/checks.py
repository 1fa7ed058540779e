"""What must hold once the pipeline has been run again: each function returns what does not, in words."""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.drill.project import Project, Told
from evaluation.drill.rest import Mlflow, Recorded

LOCKS = (".dvc/tmp/lock", ".dvc/tmp/rwlock.lock", ".work/flow.lock")  # held by a process, of whatever age the file is


@dataclass
class Counts:
    """Metric points and runs of one round, and what is wrong with them."""

    points: int = 0  # that stages gave to their log
    recorded: int = 0  # that MLflow has
    lost: int = 0
    doubled: int = 0
    runs: int = 0  # of stages, as MLflow has them
    doubled_runs: int = 0
    wrong: list[str] = field(default_factory=list)


def compare_runs(told: Mapping[str, Told], runs: Sequence[Recorded], stages: Sequence[str], begun: int) -> Counts:
    """Runs in MLflow against those that began.

    Args:
        told: by key, what the runs of stages said of themselves.
        runs: what MLflow has of the same time.
        stages: that had to be brought up to date.
        begun: how many runs of the pipeline were started.
    """
    counts = Counts(runs=sum(run.is_stage for run in runs))
    keys = Counter(run.key for run in runs)
    counts.doubled_runs = sum(count - 1 for count in keys.values())
    counts.wrong += [f"{count} runs have the key {key}" for key, count in keys.items() if count > 1]
    counts.wrong += [f"no run for what {told[key].stage} recorded as {key}" for key in told.keys() - keys.keys()]
    counts.wrong += [f"run {run.id} ({run.name}) is still open" for run in runs if run.status == "RUNNING"]
    unknown = [run for run in runs if run.is_stage and run.key not in told]
    counts.wrong += [f"run {run.id} ({run.name}) is of a stage that did not run" for run in unknown]
    finished = Counter(run.name for run in runs if run.is_stage and run.status == "FINISHED")
    counts.wrong += [f"stage {name} finished {finished[name]} times" for name in stages if finished[name] != 1]
    ids = {run.id for run in runs}
    parents = [run for run in runs if "mlflow.parentRunId" not in run.tags]
    orphans = [run for run in runs if run.tags.get("mlflow.parentRunId", run.id) not in ids]
    counts.wrong += [f"run {run.id} ({run.name}) has lost its parent" for run in orphans]
    if not 1 <= len(parents) <= begun:
        counts.wrong.append(f"{len(parents)} runs of the pipeline, of which {begun} were started")
    return counts


def compare_points(told: Mapping[str, Told], runs: Sequence[Recorded], mlflow: Mlflow, counts: Counts) -> None:
    """Every metric point that a stage gave to its log against those that MLflow has of its run; into ``counts``."""
    for run in runs:
        if not (said := told.get(run.key)):
            continue
        names = sorted({name for name, _, _ in said.said | said.begun} & run.metrics)
        recorded = [point for name in names for point in mlflow.points(run.id, name)]
        places = Counter((name, step) for name, step, _ in recorded)
        lost, invented = said.said - set(recorded), set(recorded) - said.said - said.begun
        doubled = sum(count - 1 for count in places.values())
        counts.points += len(said.said)
        counts.recorded += len(recorded)
        counts.lost += len(lost)
        counts.doubled += doubled
        for what, bad in (("lost", len(lost)), ("doubled", doubled), ("invented", len(invented))):
            if bad:
                counts.wrong.append(f"{bad} points of {run.name} ({run.id}) are {what}")
        if missing := said.kept - mlflow.artifacts(run.id):
            counts.wrong.append(f"artifacts of {run.name} ({run.id}) are missing: {', '.join(sorted(missing))}")


def stale_locks(project: Project) -> list[str]:
    """What a dead process still holds, or left for others to find, in the project's folder."""
    held = [f"{path} is locked" for path in LOCKS if _is_locked(project.folder / path)]
    rwlock = project.folder / ".dvc/tmp/rwlock"
    if rwlock.is_file():
        try:
            entries = json.loads(rwlock.read_text())
            held += [f"DVC's rwlock: {mode} {path}" for mode, paths in entries.items() for path in paths]
        except ValueError:
            held.append("DVC's rwlock is damaged")
    held += [f"sign of life {path.name}" for path in (project.folder / ".work/flows").glob("*")]
    held += [f"outbox: {path.name}" for path in (project.folder / ".work/outbox").glob("*")]
    return held + [f"still at work: {words}" for words in project.left_at_work()]


def _is_locked(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
