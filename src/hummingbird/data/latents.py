"""Clips as the trainer reads them: latents of every frame and the embedding of the caption.

A shard is a safetensors file with ``latents`` [frames of all its clips, C, h, w] and ``text`` [clips, L, D], both fp16;
``index.parquet`` says where each clip lies. The VAE works frame by frame, so stride and start are still free here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hummingbird.errors import UserError
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
_MAKE_AGAIN = "delete data/latents and run again: dvc repro encode"


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


class LatentDataset:
    """Latents and text embeddings in a folder written by the stage ``encode``.

    Attributes:
        index: one row per clip, :data:`INDEX_SCHEMA`.
        empty_text: embedding of the empty prompt [L, D].

    Raises:
        UserError: the folder, its index or a file in it is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "index.parquet").is_file():
            raise UserError(f"no latents in {folder}", "make them: dvc repro encode")
        self.folder = folder
        self.index = pl.read_parquet(folder / "index.parquet")
        self._open: dict[str, Any] = {}
        self.empty_text: Tensor = self._tensor(EMPTY_PROMPT, "text", 0, 1)[0].float()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def captions(self) -> list[str]:
        return self.index["caption"].to_list()

    def _tensor(self, shard: str, name: str, first: int, last: int) -> Tensor:
        """Rows ``first`` to ``last`` (not included) of a tensor in a shard, read from the mapped file."""
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(self.folder / shard, framework="pt")
            rows: Tensor = self._open[shard].get_slice(name)[first:last]
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.folder / shard} is missing or damaged: {error}", _MAKE_AGAIN) from error
        if len(rows) != last - first:
            raise UserError(f"{self.folder / shard} ends early", _MAKE_AGAIN)
        return rows

    def batches(
        self, batch_size: int, num_frames: int, stride_range: tuple[int, int] = (1, 1), seed: int = 0
    ) -> Callable[[int], dict[str, Any]]:
        """Batches as a pure function of the step; see :meth:`batch`.

        Raises:
            UserError: no clip has ``num_frames`` frames.
        """
        clips = self.index.filter(pl.col("num_frames") >= num_frames).to_dicts()
        if not clips:
            longest = max(self.index["num_frames"].to_list(), default=0)
            raise UserError(
                f"no clip has the {num_frames} frames that training asks for; the longest has {longest}",
                "lower num_frames, or raise encode.max_frames, in params.yaml",
            )

        @functools.lru_cache(maxsize=2)  # a batch may lie across two epochs
        def order(epoch: int) -> NDArray[np.int64]:
            return np.random.default_rng([seed, 0, epoch]).permutation(len(clips))

        def at(step: int) -> dict[str, Any]:
            rng = np.random.default_rng([seed, 1, step])
            places = [divmod(step * batch_size + number, len(clips)) for number in range(batch_size)]
            picked = [clips[order(epoch)[place]] for epoch, place in places]
            return self._collate(picked, num_frames, stride_range, rng)

        return at

    def batch(
        self, step: int, batch_size: int, num_frames: int, stride_range: tuple[int, int] = (1, 1), seed: int = 0
    ) -> dict[str, Any]:
        """Batch of one step, a pure function of ``seed`` and ``step``; every epoch is a permutation of the clips.

        Each clip gives a window of ``num_frames`` frames at a stride drawn from ``stride_range`` (both included), less
        where the clip is too short for it, and a start drawn from what is left.

        Returns:
            ``latents`` [B, C, T, h, w], ``text`` [B, L, D], ``fps`` [B] (the clip's divided by the stride) as floats,
            and ``captions``.
        """
        return self.batches(batch_size, num_frames, stride_range, seed)(step)

    def _collate(
        self, clips: list[dict[str, Any]], num_frames: int, stride_range: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, Any]:
        latents, text, fps = [], [], []
        for clip in clips:
            longest = max(1, (clip["num_frames"] - 1) // max(1, num_frames - 1))
            stride = min(int(rng.integers(stride_range[0], stride_range[1] + 1)), longest)
            span = stride * (num_frames - 1) + 1
            start = clip["frame_offset"] + int(rng.integers(clip["num_frames"] - span + 1))
            latents.append(self._tensor(clip["shard"], "latents", start, start + span)[::stride])
            text.append(self._tensor(clip["shard"], "text", clip["text_row"], clip["text_row"] + 1)[0])
            fps.append(clip["fps"] / stride)
        return {
            "latents": torch.stack(latents).transpose(1, 2).float(),
            "text": torch.stack(text).float(),
            "fps": torch.tensor(fps),
            "captions": [clip["caption"] for clip in clips],
        }
