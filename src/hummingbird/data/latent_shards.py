"""Shards of encoded clips: latents of every frame and the embedding of the caption.

A shard is a safetensors file with ``latents`` [frames of all its clips, C, h, w] and ``text`` [clips, L, D], both fp16;
``index.parquet`` says where each clip lies. The VAE works frame by frame, so stride and start are still free here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hummingbird.files import replacing

INDEX_SCHEMA: dict[str, pl.DataType] = {
    "clip_id": pl.String(),
    "shard": pl.String(),  # file name beside the index
    "frame_offset": pl.Int64(),  # first row in `latents`
    "num_frames": pl.Int32(),
    "text_row": pl.Int32(),  # row in `text`
    "fps": pl.Float64(),
    "caption": pl.String(),
}
EMPTY_PROMPT = "empty_prompt.safetensors"


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """``latents`` [T, C, h, w] and ``text`` [L, D] of one clip."""

    clip_id: str
    latents: Tensor
    text: Tensor
    fps: float
    caption: str


def write_latent_shard(path: Path, clips: Sequence[EncodedClip]) -> pl.DataFrame:
    """Write a shard, whole or not at all; returns its part of the index.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    lengths = [len(clip.latents) for clip in clips]
    offsets = np.cumsum([0, *lengths[:-1]]).tolist()
    tensors = {
        "latents": torch.cat([clip.latents for clip in clips]).half().contiguous(),
        "text": torch.stack([clip.text for clip in clips]).half().contiguous(),
    }
    with replacing(path) as part:
        save_file(tensors, part)
    rows = [
        (clip.clip_id, path.name, offset, length, number, clip.fps, clip.caption)
        for number, (clip, offset, length) in enumerate(zip(clips, offsets, lengths, strict=True))
    ]
    return pl.DataFrame(rows, schema=INDEX_SCHEMA, orient="row")


def is_whole(path: Path, index: pl.DataFrame) -> bool:
    """Whether the file at ``path`` is a shard with all the rows that its index names; its header says so, so nothing
    else is read."""
    try:
        with safe_open(path, framework="pt") as shard:
            frames, texts = (shard.get_slice(name).get_shape()[0] for name in ("latents", "text"))
    except (OSError, SafetensorError):
        return False
    return bool(frames == index["num_frames"].sum() and texts == len(index))
