"""Stage ``download``: raw clips from their source into tar shards and the first clip table."""

from __future__ import annotations

import functools
import hashlib
import itertools
import shutil
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.data import preparation, shards, video_io
from hummingbird.data.blocks import Block, finish_block, finished_shards, plan_blocks
from hummingbird.data.clips import clip_table, reason_counts, write_table
from hummingbird.data.crawl_sheets import write_crawl_sheets
from hummingbird.data.duplicates import mark_duplicates
from hummingbird.data.fetching import fetch, forget, forget_unfinished
from hummingbird.data.intake import clips_of
from hummingbird.data.shards import Sample, ShardWriter
from hummingbird.data.sources import TRUTH_SCHEMA, ClipSource, RawClip, Source, open_source
from hummingbird.data.sources.digest import digest_of
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Download, Params
from hummingbird.runlog import RunLog
from hummingbird.workers import lazy_map, worker_pool

_Groups = Generator[list[RawClip], None, None]  # the clips of each item, or of each number of a generated source
_FETCHED = "fetched"  # folder of what was fetched, in the work folder
_AHEAD = 16  # videos in memory that wait for one before them


def _drawn(source: ClipSource, spans: Iterable[range], pool: ProcessPoolExecutor | None) -> _Groups:
    """The clips of a generated source, each as a list of one."""
    for span in spans:
        clips = map(source.clip, span) if pool is None else pool.map(source.clip, span, chunksize=8)
        yield from ([clip] for clip in clips)


def _fetched(
    source: Source,
    spans: Iterable[range],
    pool: ProcessPoolExecutor | None,
    params: Download,
    folder: Path,
    journal: Path,
) -> _Groups:
    """The clips of each item of a source. Fetching goes on, and into the next shard, while they are looked at."""
    items = itertools.chain.from_iterable(source.items(span.start, span.stop) for span in spans)
    prepared = functools.partial(clips_of, settings=params.preparation)
    with closing(fetch(items, params.fetch, folder, root=source.root, journal=journal)) as fetched:
        yield from lazy_map(pool, prepared, fetched, ahead=_AHEAD)


def _row(clip: RawClip, key: str, min_frames: int) -> dict[str, Any]:
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
        "source_id": clip.source_id or clip.clip_id,
        "start_s": clip.start_s,
        "transcoded": clip.transcoded,
        "phash": clip.phash,
        "duplicate_of": "",
        "kept": not problem,
        "reason": problem,
    }


def _make_block(groups: Iterator[list[RawClip]], block: Block, folder: Path, params: Download) -> None:
    """Write the shards of one block, its truth and its rows, and mark it as finished."""
    rows: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    with ShardWriter(folder, block.name, params.shard_mb * 1_000_000) as writer:
        for number, clips in enumerate(groups, start=block.first):
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


def _make_blocks(params: Download, source: Source | ClipSource, work: Path, log: RunLog) -> list[Block]:
    """Make every block that ``work`` does not hold already; all of them, in order."""
    blocks = plan_blocks(work, len(source), params.clips_per_shard, functools.partial(digest_of, source))
    left = {block: range(block.first, block.stop) for block in blocks if finished_shards(work, block) is None}
    files = work.parent / _FETCHED if params.fetch.keep else work / _FETCHED
    with worker_pool(sum(map(len, left.values()))) as pool:
        if isinstance(source, ClipSource):
            groups = _drawn(source, left.values(), pool)
        else:
            groups = _fetched(source, left.values(), pool, params, files, work / "journal.sqlite")
        with closing(groups):
            for block, span in left.items():
                taken = log.progress(itertools.islice(groups, len(span)), f"shard {block.name}", total=len(span))
                _make_block(taken, block, work, params)
                if not isinstance(source, ClipSource) and not params.fetch.keep:
                    forget(files, source.items(span.start, span.stop))
    forget_unfinished(files)
    return blocks


def _work_key(params: Download) -> str:
    """Of everything but the items that shapes a shard: settings, code and the libraries that decode and encode."""
    files = [*sorted(Path(preparation.__path__[0]).glob("*.py")), Path(video_io.__file__), Path(shards.__file__)]
    code = b"".join(path.read_bytes() for path in files)
    versions = [metadata.version(name) for name in ("av", "opencv-python-headless", "scenedetect-headless")]
    later = {"duplicates", "near_duplicate_bits"}  # of use when the shards are written
    settings = params.model_dump_json(exclude={"clips": True, "preparation": later})
    return hashlib.sha256(f"{settings} {versions}".encode() + code).hexdigest()[:16]


def _clean(work: Path) -> None:
    """Leave only what a later run can use: finished shards, and what was fetched if that is to be kept."""
    for other in work.parent.iterdir():
        if other.name not in (work.name, _FETCHED):
            shutil.rmtree(other, ignore_errors=True)
    shutil.rmtree(work / _FETCHED, ignore_errors=True)
    for journal in work.glob("journal.sqlite*"):
        journal.unlink()


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``data/raw`` (shards and clip table), the truth table and contact sheets.

    A killed run continues after its last finished shard, and fetches nothing again. A source that has grown is read
    from where it ended: finished shards stay in the work folder, by a second name that takes no space.

    Raises:
        UserError: the source cannot be used, no clip of it can, or the disk cannot be written to.
    """
    source = open_source(params.download)
    work = layout.work("download", _work_key(params.download))
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    blocks = _make_blocks(params.download, source, work, log)
    table = pl.concat([pl.read_parquet(work / f"{block.name}.rows.parquet") for block in blocks])
    settings = params.download.preparation
    table = mark_duplicates(table, settings.near_duplicate_bits, drop=settings.duplicates == "drop")
    dropped = reason_counts(table)
    if not table["kept"].any():
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"no clip of {params.download.source} can be used: {why}",
            "look at download.source, .csv, .fetch and .min_frames in params.yaml",
        )
    truth = pl.concat([pl.read_parquet(work / f"{block.name}.truth.parquet") for block in blocks])
    write_table(truth, layout.truth)
    with replacing_folder(layout.raw) as folder:
        (folder / "shards").mkdir()
        for shard in (shard for block in blocks for shard in finished_shards(work, block) or ()):
            link_or_copy(work / shard, folder / "shards" / shard)
        write_table(table, folder / "clips.parquet")
    write_crawl_sheets(layout.sheets("download"), layout.raw / "shards", table, log)
    _clean(work)
    kept = table.filter(pl.col("kept"))
    figures = {"clips": len(table), "kept": len(kept), "kept_seconds": float(kept["duration_s"].sum())}
    return {**figures, **{f"dropped_{reason}": float(count) for reason, count in dropped.items()}}
