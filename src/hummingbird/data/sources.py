"""Where raw clips come from: the miniature world, or a folder of videos with a CSV in WebVid's format."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from hummingbird.data import sloppy, spoil, video_io, world
from hummingbird.errors import UserError
from hummingbird.params import Download

#: What was done to each clip of the miniature world. Real clips have no such table: theirs has no rows.
TRUTH_SCHEMA: dict[str, pl.DataType] = {
    "clip_id": pl.String(),
    "spoilage": pl.String(),  # one of `world.SPOILAGE`, null for a good clip
    "sloppy": pl.Boolean(),  # whether its caption was dirtied
    "clean_caption": pl.String(),
    "motion": pl.String(),
    "speed": pl.String(),
    "background": pl.String(),
    "relation": pl.String(),
    **{f"{name}": pl.String() for name in ("color", "shape", "texture", "size")},
    **{f"second_{name}": pl.String() for name in ("color", "shape", "texture", "size")},
}
WEBVID_COLUMNS = ("videoid", "contentUrl", "page_dir", "name")  # `duration` is measured, not read
_CRF = 6  # at 32 pixels: mean error of about one grey level, 5 KB a clip


@dataclass(frozen=True, slots=True)
class RawClip:
    """A clip as it came in. ``problem`` says why it cannot be used (``code: detail``), else it is empty."""

    clip_id: str
    caption: str
    source: str
    video: bytes = b""
    info: video_io.VideoInfo | None = None
    path: Path | None = None  # of a video that is yet to be prepared
    problem: str = ""
    truth: dict[str, Any] | None = None


class ClipSource(Protocol):
    """A numbered list of clips; picklable, so that worker processes can draw from it."""

    def __len__(self) -> int: ...

    def clip(self, index: int) -> RawClip: ...

    def digest(self, first: int, stop: int) -> str:
        """Changes whenever one of these clips could be another with the same parameters."""


def _truth(clip_id: str, clip: world.Clip, dirtied: bool) -> dict[str, Any]:
    scene = clip.scene
    row: dict[str, Any] = {"clip_id": clip_id, "sloppy": dirtied, "clean_caption": clip.caption}
    row |= {name: getattr(scene, name) for name in ("spoilage", "motion", "speed", "background", "relation")}
    for prefix, thing in zip(("", "second_"), scene.objects, strict=False):
        row |= {prefix + name: getattr(thing, name) for name in ("color", "shape", "texture", "size")}
    return {name: row.get(name) for name in TRUTH_SCHEMA}


@dataclass(frozen=True)
class WorldSource:
    """Clips of :mod:`hummingbird.data.world`, a share of them spoilt and a share captioned sloppily."""

    params: Download

    def __len__(self) -> int:
        return self.params.clips

    def clip(self, index: int) -> RawClip:
        p = self.params
        made = world.make_clip(p.world_seed, index, frames=p.frames, size=p.size, spoilt_share=p.spoilt_share)
        rng = np.random.default_rng([p.world_seed, index, 1])  # not the scene's: dirt must not change the clip
        dirtied = bool(rng.random() < p.sloppy_share)
        clip_id = f"world-{p.world_seed}-{index:06d}"
        return RawClip(
            clip_id=clip_id,
            caption=sloppy.sloppy(made.scene, rng) if dirtied else made.caption,
            source="world",
            video=video_io.encode_mp4(made.video, p.fps, crf=_CRF),
            info=video_io.VideoInfo(p.size, p.size, float(p.fps), p.frames),
            truth=_truth(clip_id, made, dirtied),
        )

    def digest(self, first: int, stop: int) -> str:
        files = [*(Path(module.__file__ or "") for module in (world, spoil, sloppy)), Path(__file__)]
        code = b"".join(path.read_bytes() for path in files)
        return hashlib.sha256(code + f"{first}-{stop}".encode()).hexdigest()


@dataclass(frozen=True)
class FolderSource:
    """Real videos: ``folder`` and a WebVid CSV. Files are found as ``folder/<basename of contentUrl>`` or
    ``folder/[videos/]page_dir/videoid.mp4``; what cannot be used becomes a clip with a problem, never an exception."""

    folder: Path
    csv: Path
    limit: int

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """The CSV's rows, with a ``clip_id`` that is unique even where ``videoid`` is not.

        Raises:
            UserError: the folder or the CSV is missing, is no CSV, lacks columns or has no rows.
        """
        if not self.folder.is_dir():
            raise UserError(f"download.source: no folder {self.folder}", "set it to `world`, or to a folder of videos")
        if not self.csv.is_file():
            raise UserError(f"download.csv: no file {self.csv}", "give a CSV in WebVid's format beside the videos")
        try:
            table = pl.read_csv(self.csv, infer_schema=False)
        except PolarsError as error:
            raise UserError(f"{self.csv} is not a CSV file: {error}", "mend it and run again") from error
        missing = [name for name in WEBVID_COLUMNS if name not in table.columns]
        if missing:
            raise UserError(
                f"{self.csv} lacks columns: {', '.join(missing)}",
                "WebVid's are videoid, contentUrl, duration, page_dir, name",
            )
        if table.is_empty():
            raise UserError(f"{self.csv} has no rows", "name at least one video")
        rows = table.select(pl.col(WEBVID_COLUMNS).fill_null("")).head(self.limit).to_dicts()
        seen: Counter[str] = Counter()
        for number, row in enumerate(rows):
            name = row["videoid"].strip() or f"row{number}"
            seen[name] += 1
            row["clip_id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
        return rows

    def __len__(self) -> int:
        return len(self.rows)

    def _find(self, row: dict[str, str]) -> Path | None:
        name = PurePosixPath(unquote(urlparse(row["contentUrl"]).path)).name
        places = [self.folder / name] if name else []
        places += [self.folder / top / row["page_dir"] / f"{row['videoid']}.mp4" for top in ("", "videos")]
        inside = (path for path in places if path.resolve().is_relative_to(self.folder.resolve()))
        return next((path for path in inside if path.is_file()), None)

    def clip(self, index: int) -> RawClip:
        row = self.rows[index]
        caption = row["name"].strip()
        raw = functools.partial(RawClip, clip_id=row["clip_id"], caption=caption, source=self.folder.resolve().name)
        path = self._find(row)
        if path is None:
            return raw(problem="missing: no such file")
        return raw(path=path, problem="" if caption else "no_caption")

    def digest(self, first: int, stop: int) -> str:
        total = hashlib.sha256()
        for row in self.rows[first:stop]:
            path = self._find(row)
            file = (path.stat().st_size, path.stat().st_mtime_ns) if path else None
            total.update(f"{row} {path} {file}\n".encode())
        return total.hexdigest()


def open_source(params: Download) -> ClipSource:
    """The source that ``params`` names.

    Raises:
        UserError: a folder is named without a CSV, or one of the two cannot be used.
    """
    if params.source == "world":
        return WorldSource(params)
    folder = Path(params.source)
    csv = Path(params.csv) if params.csv else folder / "clips.csv"
    source = FolderSource(folder, csv, params.clips)
    len(source)  # read the CSV now: its errors belong at the start
    return source
