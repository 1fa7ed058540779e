"""Stage ``download``: raw clips from their source into tar shards and the first clip table."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.data.clips import clip_table, reason_counts, write_table
from hummingbird.data.fetching import fetch, forget, forget_unfinished
from hummingbird.data.intake import clips_of
from hummingbird.data.shards import Sample, write_shard
from hummingbird.data.sheets import save_sheet, table_sheet
from hummingbird.data.sources import TRUTH_SCHEMA, ClipSource, RawClip, Source, open_source
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Download, Fetch, Params
from hummingbird.runlog import RunLog
from hummingbird.workers import lazy_map, worker_pool

_Groups = Generator[list[RawClip], None, None]  # the clips of each item, or of each number of a generated source


def _drawn(source: ClipSource, spans: Iterable[range], pool: ProcessPoolExecutor | None) -> _Groups:
    """The clips of a generated source, each as a list of one."""
    for span in spans:
        clips = map(source.clip, span) if pool is None else pool.map(source.clip, span, chunksize=8)
        yield from ([clip] for clip in clips)


def _fetched(
    source: Source, spans: Iterable[range], pool: ProcessPoolExecutor | None, params: Fetch, folder: Path, journal: Path
) -> _Groups:
    """The clips of each item of a source. Fetching goes on, and into the next shard, while they are looked at."""
    items = itertools.chain.from_iterable(source.items(span.start, span.stop) for span in spans)
    with closing(fetch(items, params, folder, root=source.root, journal=journal)) as fetched:
        yield from lazy_map(pool, clips_of, fetched)


def _row(clip: RawClip, shard: str, key: str, min_frames: int) -> dict[str, Any]:
    problem = clip.problem
    if not problem and clip.info and clip.info.num_frames < min_frames:
        problem = f"too_short: {clip.info.num_frames} frames"
    return {
        "clip_id": clip.clip_id,
        "shard": shard if clip.info else "",
        "key": key,
        "caption": clip.caption,
        "duration_s": clip.info.duration_s if clip.info else None,
        "fps": clip.info.fps if clip.info else None,
        "width": clip.info.width if clip.info else None,
        "height": clip.info.height if clip.info else None,
        "num_frames": clip.info.num_frames if clip.info else None,
        "sha256": hashlib.sha256(clip.video).hexdigest() if clip.video else None,
        "source": clip.source,
        "source_id": clip.source_id or clip.clip_id,
        "kept": not problem,
        "reason": problem,
    }


def _make_shard(clips: Iterator[RawClip], first: int, folder: Path, name: str, params: Download) -> None:
    """Write one shard, its truth and, last, its rows: where the rows are, the shard is finished."""
    rows: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []

    def samples() -> Iterator[Sample]:
        for number, clip in enumerate(clips, start=first):
            row = _row(clip, f"{name}.tar", f"{number:08d}", params.min_frames)
            rows.append(row)
            if clip.truth:
                truth.append(clip.truth)
            if clip.info:
                meta = {key: row[key] for key in ("clip_id", "caption", "fps", "num_frames", "sha256", "source")}
                yield Sample(row["key"], clip.video, meta)

    write_shard(folder / f"{name}.tar", samples())
    write_table(pl.DataFrame(truth, schema=TRUTH_SCHEMA, orient="row"), folder / f"{name}.truth.parquet")
    write_table(clip_table(rows), folder / f"{name}.rows.parquet")


def _make_shards(params: Download, source: Source | ClipSource, work: Path, log: RunLog) -> list[str]:
    """Make every shard that ``work`` does not hold already; names of all of them, in order."""
    starts = range(0, len(source), params.clips_per_shard)
    spans = {
        f"{number:05d}": range(start, min(start + starts.step, len(source))) for number, start in enumerate(starts)
    }
    left = {name: span for name, span in spans.items() if not (work / f"{name}.rows.parquet").is_file()}
    files = work.parent / "fetched" if params.fetch.keep else work / "fetched"
    with worker_pool(sum(map(len, left.values()))) as pool:
        if isinstance(source, ClipSource):
            groups = _drawn(source, left.values(), pool)
        else:
            groups = _fetched(source, left.values(), pool, params.fetch, files, work / "journal.sqlite")
        with closing(groups):
            for name, span in left.items():
                taken = log.progress(itertools.islice(groups, len(span)), f"shard {name}", total=len(span))
                _make_shard(itertools.chain.from_iterable(taken), span.start, work, name, params)
                if not isinstance(source, ClipSource) and not params.fetch.keep:
                    forget(files, source.items(span.start, span.stop))
    forget_unfinished(files)
    return list(spans)


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``data/raw`` (shards and clip table), the truth table and a contact sheet.

    A killed run continues after its last finished shard, and fetches nothing again.

    Raises:
        UserError: the source cannot be used, no clip of it can, or the disk cannot be written to.
    """
    source = open_source(params.download)
    key = hashlib.sha256((params.download.model_dump_json() + source.fingerprint()).encode()).hexdigest()
    work = layout.work("download", key[:16])
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    names = _make_shards(params.download, source, work, log)
    table = pl.concat([pl.read_parquet(work / f"{name}.rows.parquet") for name in names])
    dropped = reason_counts(table)
    if not table["kept"].any():
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"no clip of {params.download.source} can be used: {why}",
            "look at download.source, .csv, .fetch and .min_frames in params.yaml",
        )
    truth = pl.concat([pl.read_parquet(work / f"{name}.truth.parquet") for name in names])
    write_table(truth, layout.truth)
    with replacing_folder(layout.raw) as folder:
        (folder / "shards").mkdir()
        for name in names:
            link_or_copy(work / f"{name}.tar", folder / "shards" / f"{name}.tar")
        write_table(table, folder / "clips.parquet")
    if (picture := table_sheet(layout.raw / "shards", table)) is not None:
        save_sheet(picture, layout.sheets("download") / "raw.png")
        log.image("raw clips", picture)
    shutil.rmtree(work, ignore_errors=True)
    kept = table.filter(pl.col("kept"))
    figures = {"clips": len(table), "kept": len(kept), "kept_seconds": float(kept["duration_s"].sum())}
    return {**figures, **{f"dropped_{reason}": float(count) for reason, count in dropped.items()}}
