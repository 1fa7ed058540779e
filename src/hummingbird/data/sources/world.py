"""Clips of the miniature world."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hummingbird.data import sloppy, spoil, video_io, world
from hummingbird.data.sources.base import RawClip
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
_CRF = 6  # at 32 pixels: mean error of about one grey level, 5 KB a clip


def _truth(clip_id: str, clip: world.Clip, dirtied: bool) -> dict[str, Any]:
    scene = clip.scene
    row: dict[str, Any] = {"clip_id": clip_id, "sloppy": dirtied, "clean_caption": clip.caption}
    row |= {name: getattr(scene, name) for name in ("spoilage", "motion", "speed", "background", "relation")}
    for prefix, thing in zip(("", "second_"), scene.objects, strict=False):
        row |= {prefix + name: getattr(thing, name) for name in ("color", "shape", "texture", "size")}
    return {name: row.get(name) for name in TRUTH_SCHEMA}


@dataclass(frozen=True)
class WorldSource:
    """Clips of :mod:`hummingbird.data.world`, a share of them spoilt and a share captioned sloppily.

    Raises:
        UserError: ``params`` set no number of clips: the world has no end.
    """

    params: Download

    def __post_init__(self) -> None:
        if self.params.clips is None:
            raise UserError("the miniature world has no end", "set download.clips in params.yaml to a number of clips")

    def __len__(self) -> int:
        return self.params.clips or 0

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

    def fingerprint(self) -> str:
        files = [*(Path(module.__file__ or "") for module in (world, spoil, sloppy)), Path(__file__)]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
