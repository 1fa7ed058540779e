"""``--explain``: the whole story of one clip: what came, every score beside its bound, the captions, and the frames."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hummingbird.data.bounds import BOUNDS, Bound
from hummingbird.data.clips import read_table
from hummingbird.data.measuring.table import MOTION, QUALITY, SIGNALS, read_strips
from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Params, load_params

_COMPARED = 20_000  # names that a wrong one is compared with
_TABLES = ("recaption", "motion_filter", "vqa_filter", "download")  # the last stage first: it has all columns


def explain(folder: Path, clip_id: str, console: Console) -> None:
    """Print everything that is known of a clip, and write its frames to ``reports/explained/CLIP_ID.png``.

    Raises:
        UserError: there is no result in ``folder``, or it has no such clip.
    """
    layout = Layout(folder)
    params = load_params(folder / "params.yaml")
    for row in _rows(layout, clip_id):
        console.print(f"[bold]{escape(row['clip_id'])}[/]: {_verdict(row)}", highlight=False)
        console.print(_facts(row))
        if scores := measured(layout, row["clip_id"]):
            console.print(_scores(row, scores, params))
        if picture := _frames(layout, row):
            console.print(f"frames: {picture}", highlight=False, soft_wrap=True)


def _rows(layout: Layout, clip_id: str) -> list[dict[str, Any]]:
    """The clip, or all clips of a video that was cut, as the last step left them that ran with these parameters."""
    since = (layout.root / "params.yaml").stat().st_mtime
    paths = [path for path in map(layout.clip_table, _TABLES) if path.is_file() and path.stat().st_mtime >= since]
    if not paths:
        raise UserError(f"no clip table of these parameters in {layout.root}", "curate first, or name another --out")
    table = read_table(paths[0])
    found = table.filter(pl.any_horizontal(pl.col("clip_id", "source_id") == clip_id))
    if found.is_empty():
        near = difflib.get_close_matches(clip_id, table["clip_id"].head(_COMPARED), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"no clip {clip_id!r} in {paths[0]}{hint}", "its columns clip_id and source_id have all names")
    return found.to_dicts()


def _verdict(row: dict[str, Any]) -> str:
    return "[green]kept[/]" if row["kept"] else f"[red]dropped[/], {escape(row['reason'])}"


def _facts(row: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    facts = {
        "source": f"{row['source']}: {row['source_id']}",
        "caption as it came": row.get("raw_caption", row["caption"]) or "",
        "caption now": row["caption"] or "",
        "caption kept because": row.get("recaption_reason") or "",
        "video": _video(row),
        "begins at": f"{row['start_s']:.2f} s of the video" if row["start_s"] else "",
        "mended": row["transcoded"],
        "repeats": row["duplicate_of"],
        "perceptual hash": row["phash"] or "",
        "sha256": row["sha256"] or "",
        "in the shards": f"{row['shard']}: {row['key']}" if row["shard"] else "",
        "camera": row.get("camera") or "",
    }
    for name, fact in facts.items():
        if fact:
            table.add_row(f"[dim]{name}", escape(str(fact)))
    return table


def _video(row: dict[str, Any]) -> str:
    if row["num_frames"] is None:
        return ""
    return (
        f"{row['width']} x {row['height']}, {row['num_frames']} frames, {row['fps']:g} fps, {row['duration_s']:.2f} s"
    )


def measured(layout: Layout, clip_id: str) -> dict[str, Any]:
    """The scores of a clip; empty where it was never measured."""
    path = layout.measure / "scores.parquet"
    if not path.is_file():
        return {}
    found = pl.scan_parquet(path).filter(pl.col("clip_id") == clip_id).collect()
    return {} if found.is_empty() else found.row(0, named=True)


def _scores(row: dict[str, Any], scores: dict[str, Any], params: Params) -> Table:
    """Every score, beside the bounds it is compared with."""
    table = Table("filter", "score", "value", "bound", "")
    for stage, columns in {"vqa_filter": (*SIGNALS, *QUALITY), "motion_filter": MOTION}.items():
        for column in columns:
            bounds = [bound for bound in BOUNDS[stage] if bound.column == column]
            value = scores[column]
            shown = "not measured" if value is None else f"{value:.4f}"
            table.add_row(stage, column, shown, *_bound(bounds, value, getattr(params, stage), row["reason"]))
    return table


def _bound(bounds: list[Bound], value: float | None, section: Any, reason: str) -> Iterator[str]:
    """The bound in words, and whether it holds."""
    if not bounds:
        return iter(("", ""))
    (bound,) = bounds
    limit = bound.limit(section)
    if limit is None or (bound.parameter.startswith("min_") and limit == 0):
        return iter((f"{bound.parameter} is off", ""))
    if value is None:
        return iter((f"{bound.parameter} {limit:g}", ""))
    if not bound.is_crossed(value, limit):
        return iter((f"{bound.parameter} {limit:g}", "[green]holds"))
    why = "[bold red]dropped for it" if reason == bound.reason else "[red]crossed"
    return iter((f"{bound.parameter} {limit:g}", f"{why} ({bound.reason})"))


def _frames(layout: Layout, row: dict[str, Any]) -> Path | None:
    """Write the clip's strip as a picture; None where there is none."""
    path = layout.reports / "explained" / f"{row['clip_id']}.png"
    rows = pl.DataFrame({"clip_id": [row["clip_id"]], "shard": [row["shard"]]})
    if not row["shard"] or not layout.measure.is_dir():
        return None
    strips = read_strips(layout.measure / "strips", rows)
    if row["clip_id"] not in strips:
        return None
    save_sheet(contact_sheet([strips[row["clip_id"]]], [row["caption"] or ""], 1, [row["kept"]]), path)
    return path
