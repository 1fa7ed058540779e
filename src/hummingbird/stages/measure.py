"""Stage ``measure``: every measurement that the filters decide by, from one decoding of each clip."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from types import ModuleType

import polars as pl

from hummingbird import engine
from hummingbird.data import bounds, camera, flow, measuring, motion, video_io
from hummingbird.data.clips import read_table, write_table
from hummingbird.data.measuring.shard import COLUMNS, ShardJob, load_dover, measure_shard
from hummingbird.data.measuring.table import strips_path
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing_folder
from hummingbird.layout import Layout
from hummingbird.models import dover as dover_code
from hummingbird.models import raft
from hummingbird.params import Curation, Measure, Params
from hummingbird.runlog import RunLog, count_verdicts

_LIBRARIES = ("av", "numpy", "opencv-python-headless", "scipy", "torch")  # that decode and compute
_CLIPS = 64  # of a shard to a task: all processes have work where there are few shards, and a kill costs little


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``data/measure``: the scores of every clip that the download kept, and strips of their frames.

    A killed run continues after its last finished tasks, and a later one measures only what has changed.

    Raises:
        UserError: the clip table, a shard or the model is missing, the engine cannot be used, or the disk cannot be
            written to.
    """
    clips = read_table(layout.clip_table("download")).filter(pl.col("kept"))
    if clips.is_empty():
        raise UserError(
            "the download kept no clip to measure",
            "look at the reasons in data/raw/clips.parquet, mend the source, then: dvc repro",
        )
    dover = (layout.foundation / "dover").absolute()  # tasks may run in another folder
    load_dover(dover)  # its errors belong at the start, and not into a worker
    parts = layout.work("measure", measuring_key(params.measure, params.seed, dover)).absolute()
    with explain_disk_errors(parts):
        parts.mkdir(parents=True, exist_ok=True)
    folder, settings = (layout.raw / "shards").absolute(), _with_absolute_paths(params.measure)
    jobs = [
        ShardJob(folder, rows, settings, params.seed, dover, parts)
        for shard in clips.select(COLUMNS).partition_by("shard", maintain_order=True)
        for rows in shard.iter_slices(_CLIPS)
    ]
    with closing(measure_all(jobs, params.curation)) as problems:
        count_verdicts(log, problems, "measuring", total=len(clips))
    scores = _publish(jobs, layout.measure)
    _forget_others(jobs, parts)
    return {
        "clips": float(len(scores)),
        "unreadable": float((scores["problem"] != "").sum()),
        "spared": float(scores.filter(pl.col("problem") == "")["overall"].null_count()),
    }


def measuring_key(settings: Measure, seed: int, dover: Path) -> str:
    """What the scores of a clip depend on besides the clip, as a short hash: settings, models, code and libraries."""
    versions = [metadata.version(name) for name in _LIBRARIES]
    content = hashlib.sha256(f"{settings.model_dump_json()} {seed} {versions}".encode())
    weights = [Path(settings.flow_weights)] if settings.flow_weights else []
    for path in [*sorted(path for path in dover.iterdir() if path.is_file()), *weights, *_code()]:
        content.update(path.name.encode())
        if path.is_file():  # whoever opens the weights says what is wrong with them
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:16]


def _code() -> list[Path]:
    """The source files that shape a score or a strip."""
    modules = [Path(module.__file__ or "") for module in (bounds, camera, flow, motion, raft, video_io)]
    return [*modules, *(path for package in (measuring, dover_code) for path in sorted(_sources(package)))]


def _sources(package: ModuleType) -> Iterator[Path]:
    return Path(package.__path__[0]).glob("*.py")


def _with_absolute_paths(settings: Measure) -> Measure:
    weights = settings.flow_weights and str(Path(settings.flow_weights).absolute())
    return settings.model_copy(update={"flow_weights": weights})


def measure_all(jobs: list[ShardJob], settings: Curation) -> Generator[str, None, None]:
    """Measure all shards; yields the problem of each clip, or "". Those that are done come first and at once."""
    left = []
    for job in jobs:
        if job.is_done:
            yield from job.problems()
        else:
            left.append(job)
    clips = sum(len(job.rows) for job in left)
    for problems in engine.run(measure_shard, left, settings, settings.measure, clips):
        yield from problems


def _publish(jobs: list[ShardJob], folder: Path) -> pl.DataFrame:
    scores = pl.concat([pl.read_parquet(job.scores) for job in jobs], rechunk=True)
    with replacing_folder(folder) as part:
        write_table(scores, part / "scores.parquet")
        (part / "strips").mkdir()
        for shard, group in itertools.groupby(jobs, key=lambda job: str(job.rows["shard"][0])):
            _join([job.strips for job in group], strips_path(part / "strips", shard))
    return scores


def _join(parts: list[Path], whole: Path) -> None:
    if len(parts) == 1:
        link_or_copy(parts[0], whole)
    else:
        write_table(pl.concat([pl.read_parquet(path) for path in parts]), whole)


def _forget_others(jobs: list[ShardJob], parts: Path) -> None:
    """Remove part files of other settings and of shards that have changed since."""
    for folder in parts.parent.iterdir():
        if folder != parts:
            shutil.rmtree(folder, ignore_errors=True)
    used = {path for job in jobs for path in (job.scores, job.strips)}
    for path in parts.iterdir():
        if path not in used:
            path.unlink()
