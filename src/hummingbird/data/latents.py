"""Clips as the trainer reads them: batches of windows from the shards of latents (see ``latent_shards``)."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hummingbird.data.latent_order import OPEN_SHARDS, epoch_order
from hummingbird.data.latent_shards import EMPTY_PROMPT, INDEX_SCHEMA
from hummingbird.errors import UserError

_MAKE_AGAIN = "delete data/latents and run again: dvc repro encode"


class LatentDataset:
    """Latents and text embeddings in a folder written by the stage ``encode``. Safe to use from several threads.

    Args:
        without: ids of clips that are left out, e.g. because they are held out of training.
        only: ids of the clips that are taken; none = all.

    Attributes:
        index: one row per clip, :data:`INDEX_SCHEMA`.
        empty_text: embedding of the empty prompt [L, D].

    Raises:
        UserError: the folder, its index or a file in it is missing or damaged.
    """

    def __init__(self, folder: Path, without: Collection[str] = (), only: Collection[str] | None = None) -> None:
        self.folder = folder
        index = _read_index(folder)
        if only is not None:
            index = index.filter(pl.col("clip_id").is_in(list(only)))
        self.index = index.filter(~pl.col("clip_id").is_in(list(without))) if without else index
        self._open: OrderedDict[str, tuple[Any, int]] = OrderedDict()  # the shard used last is at the end
        self._lock = threading.Lock()
        self.empty_text: Tensor = self._tensor(EMPTY_PROMPT, "text", 0, 1)[0].float()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def captions(self) -> list[str]:
        return self.index["caption"].to_list()

    def _tensor(self, shard: str, name: str, first: int, last: int) -> Tensor:
        """Rows ``first`` to ``last`` (not included) of a tensor in a shard, read from the mapped file."""
        try:
            file, size = self._file(shard)
            if (self.folder / shard).stat().st_size != size:  # reading beyond its end would kill the process
                raise UserError(f"{self.folder / shard} changed while it was in use", _MAKE_AGAIN)
            rows: Tensor = file.get_slice(name)[first:last]
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.folder / shard} is missing or damaged: {error}", _MAKE_AGAIN) from error
        if first < 0 or len(rows) != last - first:
            raise UserError(f"{self.folder / shard} has no rows {first} to {last - 1} of {name}", _MAKE_AGAIN)
        return rows

    def _file(self, shard: str) -> tuple[Any, int]:
        """The mapped file of a shard, and its size in bytes then. Those in use stay open, and no more."""
        with self._lock:
            if shard not in self._open:
                path = self.folder / shard
                self._open[shard] = safe_open(path, framework="pt"), path.stat().st_size
            self._open.move_to_end(shard)
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)  # closed with its last user
            return self._open[shard]

    def batches(
        self,
        batch_size: int,
        num_frames: int,
        stride_range: tuple[int, int] = (1, 1),
        seed: int = 0,
        processes: int = 1,
    ) -> Callable[[int], dict[str, Any]]:
        """Batches as a pure function of their number; see :meth:`batch`.

        Raises:
            UserError: no clip has ``num_frames`` frames, there are fewer clips than ``processes`` that share the
                batches, or the range of strides is none.
        """
        if not 1 <= stride_range[0] <= stride_range[1]:
            raise UserError(
                f"frame_stride {list(stride_range)} is no range of strides", "name the least, 1 or more, and the most"
            )
        clips = self.index.filter(pl.col("num_frames") >= num_frames)
        self._check_enough(clips, num_frames, processes)
        shards = clips["shard"].rank("dense").to_numpy().astype(np.int64) - 1

        @functools.lru_cache(maxsize=2)  # a batch may lie across two epochs
        def order(epoch: int) -> NDArray[np.int64]:
            return epoch_order(shards, seed, epoch)

        def at(number: int) -> dict[str, Any]:
            rng = np.random.default_rng([seed, 1, number])
            places = [divmod(number * batch_size + place, len(clips)) for place in range(batch_size)]
            picked = [clips.row(int(order(epoch)[place]), named=True) for epoch, place in places]
            return self._collate(picked, num_frames, stride_range, rng)

        return at

    def batch(
        self, number: int, batch_size: int, num_frames: int, stride_range: tuple[int, int] = (1, 1), seed: int = 0
    ) -> dict[str, Any]:
        """One batch, a pure function of ``seed`` and ``number``; every epoch is a permutation of the clips.

        Each clip gives a window of ``num_frames`` frames at a stride drawn from those of ``stride_range`` (both
        included) that its length allows, the longest that it allows where it is too short for all of them, and at a
        start drawn from what is left.

        Returns:
            ``latents`` [B, C, T, h, w], ``text`` [B, L, D], ``fps`` [B] (the clip's divided by the stride) as floats,
            and ``captions``.

        Raises:
            UserError: a shard is missing or damaged, the index names rows that it has not, or a value is not finite.
        """
        return self.batches(batch_size, num_frames, stride_range, seed)(number)

    def _check_enough(self, clips: pl.DataFrame, num_frames: int, processes: int) -> None:
        if self.index.is_empty():
            raise UserError(
                f"there is no clip in {self.folder}",
                "loosen vqa_filter or motion_filter in params.yaml, and run again: dvc repro encode",
            )
        if clips.is_empty():
            longest = max(self.index["num_frames"].to_list())
            raise UserError(
                f"no clip has the {num_frames} frames that training asks for; the longest has {longest}",
                "lower num_frames, or raise encode.max_frames, in params.yaml",
            )
        if len(clips) < processes:
            raise UserError(
                f"{processes} processes cannot share {len(clips)} clips of {num_frames} frames or more",
                f"lower training.processes in params.yaml to {len(clips)} or less, or add clips",
            )

    def _collate(
        self, clips: list[dict[str, Any]], num_frames: int, stride_range: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, Any]:
        latents, text, fps = [], [], []
        for clip in clips:
            longest = max(1, (clip["num_frames"] - 1) // max(1, num_frames - 1))
            least, most = (min(bound, longest) for bound in stride_range)
            stride = int(rng.integers(least, most + 1))
            span = stride * (num_frames - 1) + 1
            start = clip["frame_offset"] + int(rng.integers(clip["num_frames"] - span + 1))
            latents.append(self._tensor(clip["shard"], "latents", start, start + span)[::stride])
            text.append(self._tensor(clip["shard"], "text", clip["text_row"], clip["text_row"] + 1)[0])
            fps.append(clip["fps"] / stride)
        batch = {"latents": torch.stack(latents).transpose(1, 2).float(), "text": torch.stack(text).float()}
        for name, values in batch.items():
            self._check_finite(name, values, clips)
        return {**batch, "fps": torch.tensor(fps), "captions": [clip["caption"] for clip in clips]}

    def _check_finite(self, name: str, values: Tensor, clips: list[dict[str, Any]]) -> None:
        finite = values.flatten(1).isfinite().all(dim=1)
        if not finite.all():
            clip = clips[finite.tolist().index(False)]
            raise UserError(
                f"the {name} of clip {clip['clip_id']} in {self.folder / clip['shard']} are not finite",
                "the file is damaged, or the encoder failed on this clip: delete data/latents and .work/encode and run "
                "again (dvc repro encode); if it comes again, take the clip out of the source",
            )


def _read_index(folder: Path) -> pl.DataFrame:
    path = folder / "index.parquet"
    if not path.is_file():
        raise UserError(f"no latents in {folder}", "make them: dvc repro encode")
    try:
        return pl.read_parquet(path).select(pl.col(name).cast(kind) for name, kind in INDEX_SCHEMA.items())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} is not an index of latents: {error}", _MAKE_AGAIN) from error
