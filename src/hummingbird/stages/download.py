"""Stage ``download``: raw clips from their source into tar shards and the first clip table."""

from __future__ import annotations

import functools
import hashlib
import itertools
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird import engine
from hummingbird.data import preparation, shards, video_io
from hummingbird.data.blocks import Block, finish_block, finished_shards, plan_blocks
from hummingbird.data.clips import clip_table, reason_counts, write_table
from hummingbird.data.crawl_sheets import write_crawl_sheets
from hummingbird.data.duplicates import mark_duplicates
from hummingbird.data.fetching import fetch, forget, forget_unfinished
from hummingbird.data.intake import clips_of, crashing_clip
from hummingbird.data.shards import Sample, ShardWriter
from hummingbird.data.sources import TRUTH_SCHEMA, ClipSource, RawClip, Source, draw, open_source
from hummingbird.data.sources.base import StampedSource
from hummingbird.data.sources.digest import digest_of
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Curation, Download, Params
from hummingbird.runlog import RunLog

_Groups = Generator[list[RawClip], None, None]  # the clips of each item, or of each number of a generated source
_FETCHED = "fetched"  # folder of what was fetched, in the work folder
_DRAWN = 8  # clips of a generated source to a task


def _drawn(source: ClipSource, spans: Sequence[range], settings: Curation) -> _Groups:
    """The clips of a generated source, each as a list of one."""
    tasks = [span[first : first + _DRAWN] for span in spans for first in range(0, len(span), _DRAWN)]
    work = functools.partial(draw, source=source)
    for clips in engine.run(work, tasks, settings, settings.prepare, sum(map(len, spans))):
        yield from ([clip] for clip in clips)


def _fetched(source: Source, spans: Sequence[range], params: Params, folder: Path, journal: Path) -> _Groups:
    """The clips of each item of a source. Fetching goes on, and into the next shard, while they are looked at."""
    settings, needs = params.curation, params.curation.prepare
    items = itertools.chain.from_iterable(source.items(span.start, span.stop) for span in spans)
    work = functools.partial(clips_of, settings=params.download.preparation)
    with closing(fetch(items, params.download.fetch, folder, root=source.root, journal=journal)) as fetched:
        yield from engine.run(work, fetched, settings, needs, sum(map(len, spans)), crashing_clip)


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


def _make_block(groups: Iterator[list[RawClip]], block: Block, folder: Path, params: Download) -> Iterator[list[str]]:
    """Write the shards of one block, its truth and its rows, and mark it as finished. Yields the reasons of the clips
    of each item as they come, "" for those that are kept."""
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
            yield [row["reason"] for row in rows[-len(clips) :]]
    write_table(pl.DataFrame(truth, schema=TRUTH_SCHEMA, orient="row"), folder / f"{block.name}.truth.parquet")
    write_table(clip_table(rows), folder / f"{block.name}.rows.parquet")
    finish_block(folder, block, writer.shards)


def _made_before(block: Block, folder: Path) -> Iterator[list[str]]:
    """As :func:`_make_block`, of a block that is finished."""
    rows = pl.read_parquet(folder / f"{block.name}.rows.parquet", columns=["key", "reason"])
    item = pl.col("key").str.split("-").list.first()
    yield from rows.group_by(item, maintain_order=True).agg("reason")["reason"].to_list()


def _make_blocks(
    blocks: Sequence[Block], params: Params, source: Source | ClipSource, work: Path
) -> Generator[list[str], None, None]:
    """Make every block that ``work`` does not hold already. Yields as :func:`_make_block` for every item, those of
    finished blocks first and at once."""
    left: dict[Block, range] = {}
    for block in blocks:
        if finished_shards(work, block) is None:
            left[block] = range(block.first, block.stop)
        else:
            yield from _made_before(block, work)
    keep = params.download.fetch.keep
    files = work.parent / _FETCHED if keep else work / _FETCHED
    if isinstance(source, ClipSource):
        groups = _drawn(source, list(left.values()), params.curation)
    else:
        groups = _fetched(source, list(left.values()), params, files, work / "journal.sqlite")
    with closing(groups):
        for block, span in left.items():
            yield from _make_block(itertools.islice(groups, len(span)), block, work, params.download)
            if not isinstance(source, ClipSource) and not keep:
                places = source.places if isinstance(source, StampedSource) else source.items
                forget(files, places(span.start, span.stop))
    forget_unfinished(files)


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


def run(params: Params, layout: Layout, log: RunLog, source: Source | ClipSource | None = None) -> dict[str, float]:
    """Write ``data/raw`` (shards and clip table), the truth table and contact sheets.

    ``source``: already open, or a part of the one that ``params`` name; none = that one.

    A killed run continues after its last finished shard, and fetches nothing again. A source that has grown is read
    from where it ended: finished shards stay in the work folder, by a second name that takes no space.

    Raises:
        UserError: the source or the engine cannot be used, no clip of the source can, or the disk cannot be written to.
    """
    source = source or open_source(params.download)
    work = layout.work("download", _work_key(params.download))
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    blocks = plan_blocks(work, len(source), params.download.clips_per_shard, functools.partial(digest_of, source))
    with closing(_make_blocks(blocks, params, source, work)) as items:
        for reasons in log.progress(items, "downloading", total=len(source)):
            for reason in reasons:
                log.verdict(reason)  # but for duplicates: those are found when all clips are there
    table = pl.concat([pl.read_parquet(work / f"{block.name}.rows.parquet") for block in blocks], rechunk=True)
    settings = params.download.preparation
    table = mark_duplicates(table, settings.near_duplicate_bits, drop=settings.duplicates == "drop")
    dropped = reason_counts(table)
    if not table["kept"].any():
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"no clip of {params.download.source} can be used: {why}",
            "look at download.source, .csv, .fetch (.allow_private: servers in private networks, or on this machine) "
            "and .min_frames in params.yaml",
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
