"""Measures clips of one shard: a pure function of the shard, its rows and the settings, in whichever process.

A part file is written whole or not at all, and the scores last: where they are, the task is done.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import polars as pl

from hummingbird.data.clips import write_table
from hummingbird.data.flow import Flow, open_flow
from hummingbird.data.measuring.clip import Look, look_at
from hummingbird.data.measuring.table import SCHEMA, STRIP_SCHEMA, score_row
from hummingbird.data.shards import iter_clips
from hummingbird.errors import UserError
from hummingbird.models.dover import Dover
from hummingbird.params import Measure

#: Of the clip table, what a job reads: of millions of clips, all jobs are held at once.
COLUMNS = ("clip_id", "shard", "key", "sha256", "num_frames", "fps", "height", "width", "kept")


@dataclass(frozen=True, slots=True)
class ShardJob:
    """Clips to measure. ``rows``: ``COLUMNS`` of the clip table, all in the shard ``folder``/`shard`; ``dover``: the
    model's folder; ``parts``: the folder of part files. All folders are absolute.

    ``name``: of the part files: the shard's and a hash of the rows, so that what has changed is measured again.
    """

    folder: Path
    rows: pl.DataFrame
    settings: Measure
    seed: int
    dover: Path
    parts: Path
    name: str = field(init=False)

    def __post_init__(self) -> None:
        content = self.rows.select("clip_id", "sha256", "key").write_csv()
        name = f"{Path(self.rows['shard'][0]).stem}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        object.__setattr__(self, "name", name)

    @property
    def scores(self) -> Path:
        return self.parts / f"{self.name}.scores.parquet"

    @property
    def strips(self) -> Path:
        return self.parts / f"{self.name}.strips.parquet"

    @property
    def is_done(self) -> bool:
        return self.scores.is_file()

    def problems(self) -> list[str]:
        """Of each clip of a job that is done: ``unreadable: why``, or ""."""
        return pl.read_parquet(self.scores, columns=["problem"])["problem"].to_list()


def measure_shard(job: ShardJob) -> list[str]:
    """Write the part files of a job, if they are not there already; returns the problem of each clip, or "".

    Raises:
        UserError: the shard or the model is missing or damaged, or the disk cannot be written to.
    """
    if job.is_done:
        return job.problems()
    scores: list[dict[str, Any]] = []
    strips: list[dict[str, Any]] = []
    with one_thread():
        model, flow = load_dover(job.dover), _open_flow(job.settings.flow, job.settings.flow_weights)
        looks = _looks(job, model, flow)
        while batch := list(islice(looks, job.settings.batch_size)):
            for (row, look), quality in zip(batch, score_looks(model, [look for _, look in batch]), strict=True):
                scores.append(score_row(row, look, quality))
                strips.append({"clip_id": row["clip_id"], "frames": job.settings.strip_frames, "strip": look.strip})
    _write(pl.DataFrame(strips, schema=STRIP_SCHEMA, orient="row"), job.strips)
    _write(pl.DataFrame(scores, schema=SCHEMA, orient="row"), job.scores)
    return [row["problem"] for row in scores]


def _write(table: pl.DataFrame, path: Path) -> None:
    """Two processes may be at it, where a cluster has given up a node too early: each writes to a name of its own."""
    draft = path.with_name(f"{path.stem}-{uuid.uuid4().hex}")
    write_table(table, draft)
    os.replace(draft, path)


@lru_cache(maxsize=1)
def load_dover(folder: Path) -> Dover:
    """The model in ``folder``, on the GPU where there is one.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    import torch

    next_step = "run the stage that supplies it: dvc repro foundation"
    if not (folder / "config.json").is_file():
        raise UserError(f"no DOVER model in {folder}", next_step)
    try:
        model = Dover.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"the DOVER model in {folder} cannot be read: {error}", next_step) from error
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


_open_flow = lru_cache(maxsize=1)(open_flow)


def _looks(job: ShardJob, model: Dover, flow: Flow) -> Iterator[tuple[dict[str, Any], Look]]:
    for row, video in iter_clips(job.folder, job.rows):
        yield row, look_at(video, row, job.settings, views=model.view_sizes, flow=flow, seed=job.seed)


def score_looks(model: Dover, looks: Sequence[Look]) -> Iterator[tuple[float, ...] | None]:
    """DOVER's scores of each clip; None for those that it was spared."""
    import torch

    views = [look.views for look in looks if look.views is not None]
    if views:
        scores = model.score_views(torch.stack([view[0] for view in views]), torch.stack([view[1] for view in views]))
        rows = iter(torch.stack(list(scores), dim=1).tolist())
    for look in looks:
        yield tuple(next(rows)) if look.views is not None else None


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes are the parallelism; and with one thread each, their number does not change a bit of any score."""
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
