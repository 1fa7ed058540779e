"""Stage ``measure``: every measurement that the filters decide by, from one decoding of each clip."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from hummingbird.data.clips import read_table, write_table
from hummingbird.data.measuring.shard import ShardJob, load_dover, measure_shard
from hummingbird.data.measuring.table import strips_path
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Measure, Params
from hummingbird.runlog import RunLog
from hummingbird.workers import worker_pool


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``data/measure``: the scores of every clip that the download kept, and strips of their frames.

    A killed run continues after its last finished shards, and a later one measures only shards that have changed.

    Raises:
        UserError: the clip table, a shard or the model is missing, or the disk cannot be written to.
    """
    clips = read_table(layout.clip_table("download")).filter(pl.col("kept"))
    if clips.is_empty():
        raise UserError(
            "the download kept no clip to measure",
            "look at the reasons in data/raw/clips.parquet, mend the source, then: dvc repro",
        )
    dover = layout.foundation / "dover"
    load_dover(dover)  # its errors belong at the start, and not into a worker
    parts = layout.work("measure", measuring_key(params.measure, params.seed, dover))
    with explain_disk_errors(parts):
        parts.mkdir(parents=True, exist_ok=True)
    jobs = [
        ShardJob(layout.raw / "shards", rows, params.measure, params.seed, dover, parts)
        for rows in clips.partition_by("shard", maintain_order=True)
    ]
    for _ in log.progress(measure_all(jobs), "measuring", total=len(clips)):
        pass
    scores = _publish(jobs, layout.measure)
    _forget_others(jobs, parts)
    return {
        "clips": float(len(scores)),
        "unreadable": float((scores["problem"] != "").sum()),
        "spared": float(scores.filter(pl.col("problem") == "")["overall"].null_count()),
    }


def measuring_key(settings: Measure, seed: int, dover: Path) -> str:
    """What the scores of a clip depend on besides the clip, as a short hash."""
    content = hashlib.sha256(f"{settings.model_dump_json()} {seed}".encode())
    for path in sorted(path for path in dover.iterdir() if path.is_file()):
        content.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:16]


def measure_all(jobs: list[ShardJob], processes: int | None = None) -> Iterator[None]:
    """Measure all shards, by as many processes as there are cores unless told otherwise; yields once for each clip."""
    left = [job for job in jobs if not job.is_done]
    yield from [None] * sum(len(job.rows) for job in jobs if job.is_done)
    with worker_pool(sum(len(job.rows) for job in left), processes) as pool:
        counts: Iterable[int] = pool.map(measure_shard, left) if pool else map(measure_shard, left)
        for count in counts:
            yield from [None] * count


def _publish(jobs: list[ShardJob], folder: Path) -> pl.DataFrame:
    scores = pl.concat([pl.read_parquet(job.scores) for job in jobs])
    with replacing_folder(folder) as part:
        write_table(scores, part / "scores.parquet")
        (part / "strips").mkdir()
        for job in jobs:
            link_or_copy(job.strips, strips_path(part / "strips", job.rows["shard"][0]))
    return scores


def _forget_others(jobs: list[ShardJob], parts: Path) -> None:
    """Remove part files of other settings and of shards that have changed since."""
    for folder in parts.parent.iterdir():
        if folder != parts:
            shutil.rmtree(folder, ignore_errors=True)
    used = {path for job in jobs for path in (job.scores, job.strips)}
    for path in parts.iterdir():
        if path not in used:
            path.unlink()
