"""Stage ``download``: raw clips from their source into tar shards and the first clip table."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.data import preparation, shards, video_io
from hummingbird.data.blocks import Block, finish_block, finished_shards, plan_blocks
from hummingbird.data.clips import clip_table, reason_counts, write_table
from hummingbird.data.duplicates import mark_duplicates
from hummingbird.data.preparation.intake import ReadyClip, take_in
from hummingbird.data.shards import Sample, ShardWriter
from hummingbird.data.sheets import save_sheet, table_sheet
from hummingbird.data.sources import TRUTH_SCHEMA, ClipSource, open_source
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Download, Params, Preparation
from hummingbird.runlog import RunLog
from hummingbird.workers import worker_pool


def _draw(
    source: ClipSource, settings: Preparation, pool: ProcessPoolExecutor | None, block: Block
) -> Iterator[list[ReadyClip]]:
    """The clips of each item of a block."""
    work = functools.partial(take_in, source, settings)
    numbers = range(block.first, block.stop)
    return map(work, numbers) if pool is None else pool.map(work, numbers, chunksize=8)


def _row(clip: ReadyClip, key: str, min_frames: int) -> dict[str, Any]:
    info = clip.info
    problem = clip.problem
    if not problem and info and info.num_frames < min_frames:
        problem = f"too_short: {info.num_frames} frames, {info.duration_s:.2f} s"
    return {
        "clip_id": clip.clip_id,
        "shard": "",
        "key": key,
        "caption": clip.caption,
        "duration_s": info.duration_s if info else None,
        "fps": info.fps if info else None,
        "width": info.width if info else None,
        "height": info.height if info else None,
        "num_frames": info.num_frames if info else None,
        "sha256": hashlib.sha256(clip.video).hexdigest() if clip.video else None,
        "source": clip.source,
        "start_s": clip.start_s,
        "transcoded": clip.transcoded,
        "phash": clip.phash,
        "duplicate_of": "",
        "kept": not problem,
        "reason": problem,
    }


def _make_shards(items: Iterator[list[ReadyClip]], block: Block, folder: Path, params: Download) -> None:
    """Write the shards of one block, its truth and its rows, and mark it as finished."""
    rows: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    with ShardWriter(folder, block.name, params.shard_mb * 1_000_000) as writer:
        for number, clips in enumerate(items, start=block.first):
            for part, clip in enumerate(clips):
                row = _row(clip, f"{number:08d}-{part:03d}" if part else f"{number:08d}", params.min_frames)
                if clip.info:
                    meta = {key: row[key] for key in ("clip_id", "caption", "fps", "num_frames", "sha256", "source")}
                    row["shard"] = writer.add(Sample(row["key"], clip.video, meta))
                rows.append(row)
                if clip.truth:
                    truth.append(clip.truth)
    write_table(pl.DataFrame(truth, schema=TRUTH_SCHEMA, orient="row"), folder / f"{block.name}.truth.parquet")
    write_table(clip_table(rows), folder / f"{block.name}.rows.parquet")
    finish_block(folder, block, writer.shards)


def _make_blocks(params: Download, source: ClipSource, work: Path, log: RunLog) -> list[Block]:
    """Make every block that ``work`` does not hold already; all of them, in order."""
    blocks = plan_blocks(work, len(source), params.clips_per_shard, source.digest)
    left = [block for block in blocks if finished_shards(work, block) is None]
    with worker_pool(sum(block.stop - block.first for block in left)) as pool:
        for block in left:
            items = _draw(source, params.preparation, pool, block)
            items = log.progress(items, f"shard {block.name}", total=block.stop - block.first)
            _make_shards(items, block, work, params)
    return blocks


def _work_key(params: Download) -> str:
    """Of everything but the items that shapes a shard: settings, code and the libraries that decode and encode."""
    files = [*sorted(Path(preparation.__path__[0]).glob("*.py")), Path(video_io.__file__), Path(shards.__file__)]
    code = b"".join(path.read_bytes() for path in files)
    versions = [metadata.version(name) for name in ("av", "opencv-python-headless", "scenedetect-headless")]
    settings = params.model_dump_json(exclude={"clips": True, "preparation": {"near_duplicate_bits"}})
    return hashlib.sha256(f"{settings} {versions}".encode() + code).hexdigest()[:16]


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``data/raw`` (shards and clip table), the truth table and a contact sheet.

    A killed run continues after its last finished shard, and a source that has grown is read from where it ended:
    finished shards are kept in the work folder, by a second name that takes no space.

    Raises:
        UserError: the source cannot be used, no clip of it can, or the disk cannot be written to.
    """
    source = open_source(params.download)
    work = layout.work("download", _work_key(params.download))
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    blocks = _make_blocks(params.download, source, work, log)
    table = pl.concat([pl.read_parquet(work / f"{block.name}.rows.parquet") for block in blocks])
    table = mark_duplicates(table, params.download.preparation.near_duplicate_bits)
    dropped = reason_counts(table)
    if not table["kept"].any():
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"no clip of {params.download.source} can be used: {why}",
            "look at download.source, download.csv and download.min_frames in params.yaml",
        )
    truth = pl.concat([pl.read_parquet(work / f"{block.name}.truth.parquet") for block in blocks])
    write_table(truth, layout.truth)
    with replacing_folder(layout.raw) as folder:
        (folder / "shards").mkdir()
        for shard in (shard for block in blocks for shard in finished_shards(work, block) or ()):
            link_or_copy(work / shard, folder / "shards" / shard)
        write_table(table, folder / "clips.parquet")
    if (picture := table_sheet(layout.raw / "shards", table)) is not None:
        save_sheet(picture, layout.sheets("download") / "raw.png")
        log.image("raw clips", picture)
    for other in work.parent.iterdir():
        if other != work:
            shutil.rmtree(other, ignore_errors=True)
    kept = table.filter(pl.col("kept"))
    figures = {"clips": len(table), "kept": len(kept), "kept_seconds": float(kept["duration_s"].sum())}
    return {**figures, **{f"dropped_{reason}": float(count) for reason, count in dropped.items()}}
