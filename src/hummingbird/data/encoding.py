"""Latents of clips and embeddings of captions, each computed once: content-keyed shards that later runs build upon.

A shard in the cache is named by the hash of all it is made of. Beside it lies its index with the keys of its clips and
captions, written last: where that is, the shard is whole. A new shard takes from older ones whatever has the same key.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from hummingbird.data.clips import write_table
from hummingbird.data.latent_shards import INDEX_SCHEMA, EncodedClip, write_latent_shard
from hummingbird.data.shards import iter_clips
from hummingbird.data.video_io import Video, VideoError, decode
from hummingbird.errors import UserError
from hummingbird.models.text import encode_prompts
from hummingbird.models.vae import downscale_factor, encode_frames, pixels_from_video
from hummingbird.params import Encode

_TEXTS = 64  # captions through the text encoder at once
_MAKE_AGAIN = "delete data/raw and run again: dvc repro download"
_PREPROCESSING = "cover by area, centre crop, -1..1"  # to be changed with the code that does it


@dataclass(frozen=True, slots=True)
class Models:
    """Folders of the networks, and a hash of the files of the VAE and of the text encoder with its tokenizer."""

    vae: Path
    tokenizer: Path
    text_encoder: Path
    vae_hash: str
    text_hash: str


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to be encoded.

    Attributes:
        rows: of the clip table with the columns of :func:`with_keys` and :func:`with_places`.
        shards: folder of the videos' tar shards.
        target: the safetensors file to write, in the cache.
    """

    rows: pl.DataFrame
    shards: Path
    target: Path
    models: Models
    settings: Encode


def with_keys(rows: pl.DataFrame, models: Models, settings: Encode) -> pl.DataFrame:
    """What is needed of the rows of a clip table, with ``latent_key`` and ``text_key``: hashes of all that the latents
    and the embedding of each depend on.

    The number of frames at once is part of it, for it may change the last bit.
    """
    frames = (settings.height, settings.width, settings.max_frames, settings.batch_frames)
    latents = [_hash(models.vae_hash, _PREPROCESSING, *frames, sha) for sha in rows["sha256"]]
    texts = [_hash(models.text_hash, caption) for caption in rows["caption"]]
    needed = rows.select("clip_id", "shard", "key", "caption", "fps", "sha256", "kept")
    return needed.with_columns(
        latent_key=pl.Series(latents, dtype=pl.String), text_key=pl.Series(texts, dtype=pl.String)
    )


def shard_key(rows: pl.DataFrame) -> str:
    """Hash of all that a shard and its index are made of."""
    return _hash(rows.select("clip_id", "latent_key", "text_key", "fps", "caption").rows())


def with_places(rows: pl.DataFrame, cache: Path) -> pl.DataFrame:
    """Rows with the places in the cache where their latents (``latent_shard, frame_offset, frames``) and embeddings
    (``text_shard, text_row``) lie; null where they are not yet."""
    parts = [pl.read_parquet(path) for path in sorted(cache.glob("*.parquet"))]
    schema = {**INDEX_SCHEMA, "latent_key": pl.String(), "text_key": pl.String()}
    known = pl.concat(parts) if parts else pl.DataFrame(schema=schema)
    latents = known.select("latent_key", "frame_offset", latent_shard="shard", frames="num_frames")
    texts = known.select("text_key", "text_row", text_shard="shard")
    for key, places in (("latent_key", latents), ("text_key", texts)):
        rows = rows.join(
            places.unique(key, keep="first", maintain_order=True), on=key, how="left", maintain_order="left"
        )
    return rows


@torch.inference_mode()
def encode_shard(task: ShardTask) -> int:
    """Write a shard and, last, its index; returns how many clips had to be encoded.

    Raises:
        UserError: a video or model is missing or damaged, the size does not suit the VAE, or the disk cannot be
            written to.
    """
    latents = dict(_latents(task))
    texts = _texts(task)
    clips = [
        EncodedClip(row["clip_id"], latents[row["latent_key"]], texts[row["text_key"]], row["fps"], row["caption"])
        for row in task.rows.iter_rows(named=True)
    ]
    # two processes may be at it, where a cluster has given up a node too early: each writes to a name of its own
    draft = task.target.with_name(f"{task.target.stem}-{uuid.uuid4().hex}.safetensors")
    index = write_latent_shard(draft, clips).with_columns(
        task.rows["latent_key"], task.rows["text_key"], shard=pl.lit(task.target.name)
    )
    write_table(index, draft.with_suffix(".parquet"))
    os.replace(draft, task.target)
    os.replace(draft.with_suffix(".parquet"), task.target.with_suffix(".parquet"))
    return int(task.rows["latent_shard"].is_null().sum())


def encode_video(vae: AutoencoderKL, video: Video, batch_frames: int) -> Tensor:
    """Latents [T, C, h, w] of uint8 [T, H, W, 3], frame by frame; fp16, on the CPU."""
    parts = torch.from_numpy(video).split(batch_frames)
    return torch.cat([encode_frames(vae, pixels_from_video(part.to(vae.device))).half().cpu() for part in parts])


def encode_text(models: Models, captions: list[str]) -> Tensor:
    """Embeddings [N, L, D] of captions; fp16, on the CPU."""
    tokenizer, text_encoder = _text_models(models)
    with torch.inference_mode():
        parts = [captions[start : start + _TEXTS] for start in range(0, len(captions), _TEXTS)]
        return torch.cat([encode_prompts(text_encoder, tokenizer, part).half().cpu() for part in parts])


def _latents(task: ShardTask) -> Iterator[tuple[str, Tensor]]:
    """Latents by key: from the cache, then those that have to be made."""
    settings, opened = task.settings, _Opened(task.target.parent)
    known = task.rows.filter(pl.col("latent_shard").is_not_null())
    for row in known.iter_rows(named=True):
        first = row["frame_offset"]
        yield row["latent_key"], opened.rows(row["latent_shard"], "latents", first, first + row["frames"])
    new = task.rows.filter(pl.col("latent_shard").is_null()).unique("latent_key", keep="first", maintain_order=True)
    if new.is_empty():
        return
    vae = _vae(task.models)
    _check_size(settings, downscale_factor(vae))
    for row, data in iter_clips(task.shards, new):
        yield row["latent_key"], encode_video(vae, _decoded(row, data, settings), settings.batch_frames)


def _decoded(row: dict[str, Any], data: bytes, settings: Encode) -> Video:
    """The frames of a clip whose bytes are those that its key names."""
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise UserError(
            f"clip {row['clip_id']} in {row['shard']} has another sha256 than the clip table says", _MAKE_AGAIN
        )
    try:
        return decode(data, settings.max_frames, cover=(settings.height, settings.width))[0]
    except VideoError as error:
        raise UserError(f"clip {row['clip_id']} in {row['shard']}: {error}", _MAKE_AGAIN) from error


def _texts(task: ShardTask) -> dict[str, Tensor]:
    """Embeddings by key."""
    opened = _Opened(task.target.parent)
    found = {
        row["text_key"]: opened.rows(row["text_shard"], "text", row["text_row"], row["text_row"] + 1)[0]
        for row in task.rows.filter(pl.col("text_shard").is_not_null()).iter_rows(named=True)
    }
    new = task.rows.filter(pl.col("text_shard").is_null()).unique("text_key", keep="first", maintain_order=True)
    if not new.is_empty():
        found |= zip(new["text_key"], encode_text(task.models, new["caption"].to_list()), strict=True)
    return found


class _Opened:
    """Shards of the cache, each opened once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}

    def rows(self, shard: str, name: str, first: int, last: int) -> Tensor:
        """Rows ``first`` to ``last`` (not included) of a tensor."""
        try:
            if shard not in self._files:
                self._files[shard] = safe_open(self._folder / shard, framework="pt")
            found: Tensor = self._files[shard].get_slice(name)[first:last]
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{self._folder / shard} is missing or damaged: {error}",
                f"delete the cache of latents and run again: rm -r {self._folder}",
            ) from error
        return found


def _check_size(settings: Encode, factor: int) -> None:
    if settings.height % factor or settings.width % factor:
        raise UserError(
            f"encode.height {settings.height} and encode.width {settings.width} must be multiples of {factor}, "
            "the VAE's reduction",
            "change them in params.yaml",
        )


@functools.lru_cache(maxsize=1)
def _vae(models: Models) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(models.vae).float().eval().to(_device())


@functools.lru_cache(maxsize=1)
def _text_models(models: Models) -> tuple[CLIPTokenizer, CLIPTextModel]:
    text_encoder = CLIPTextModel.from_pretrained(models.text_encoder).float().eval().to(_device())
    return CLIPTokenizer.from_pretrained(models.tokenizer), text_encoder


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
