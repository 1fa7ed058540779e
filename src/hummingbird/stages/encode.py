"""Stage ``encode``: latents of every frame and an embedding of every caption, once, for all later training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from hummingbird.data.clips import read_table, write_table
from hummingbird.data.latents import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.data.shards import iter_videos
from hummingbird.data.video_io import Video
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing, replacing_folder
from hummingbird.layout import Layout
from hummingbird.models.text import encode_prompts
from hummingbird.models.vae import downscale_factor, encode_frames, pixels_from_video
from hummingbird.params import Encode, Params
from hummingbird.pipelines.loading import require
from hummingbird.runlog import RunLog
from hummingbird.training.records import fingerprint
from hummingbird.training.trainer import config_key

EncodeText = Callable[[list[str]], Tensor]
_TEXTS = 64  # captions through the text encoder at once


def encode_video(vae: AutoencoderKL, video: Video, batch_frames: int) -> Tensor:
    """Latents [T, C, h, w] of uint8 [T, H, W, 3], frame by frame; fp16, on the CPU."""
    parts = torch.from_numpy(video).split(batch_frames)
    return torch.cat([encode_frames(vae, pixels_from_video(part.to(vae.device))).half().cpu() for part in parts])


def encoded_clips(
    rows: pl.DataFrame, shards: Path, vae: AutoencoderKL, text: EncodeText, settings: Encode
) -> Iterator[EncodedClip]:
    """Encode the clips of a clip table, in its order."""
    captions = rows["caption"].to_list()
    texts = torch.cat([text(captions[n : n + _TEXTS]) for n in range(0, len(captions), _TEXTS)])
    videos = iter_videos(shards, rows, max_frames=settings.max_frames, cover=(settings.height, settings.width))
    for (row, video), embedding in zip(videos, texts, strict=True):
        latents = encode_video(vae, video, settings.batch_frames)
        yield EncodedClip(row["clip_id"], latents, embedding, row["fps"], row["caption"])


def _check_size(settings: Encode, factor: int) -> None:
    if settings.height % factor or settings.width % factor:
        raise UserError(
            f"encode.height {settings.height} and encode.width {settings.width} must be multiples of {factor}, "
            "the VAE's reduction",
            "change them in params.yaml",
        )


@torch.inference_mode()
def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``data/latents``: shards, index and the embedding of the empty prompt. A killed run continues after its
    last finished shard.

    Raises:
        UserError: a table, shard or model is missing, no clip is left, the size does not suit the VAE, or the disk
            cannot be written to.
    """
    settings, foundation = params.encode, layout.foundation
    table = read_table(layout.clip_table("recaption")).filter(pl.col("kept"))
    if table.is_empty():
        raise UserError("the filters left no clip to encode", "loosen vqa_filter or motion_filter in params.yaml")
    folders = [require(foundation / name, "foundation") for name in ("vae", "tokenizer", "text_encoder")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = AutoencoderKL.from_pretrained(folders[0]).float().eval().to(device)
    tokenizer = CLIPTokenizer.from_pretrained(folders[1])
    text_encoder = CLIPTextModel.from_pretrained(folders[2]).float().eval().to(device)
    _check_size(settings, downscale_factor(vae))

    def text(captions: list[str]) -> Tensor:
        return encode_prompts(text_encoder, tokenizer, captions).half().cpu()

    key = config_key(settings.model_dump(), fingerprint(layout.clip_table("recaption"), *folders))
    work = layout.work("encode", key)
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    parts = list(enumerate(table.iter_slices(settings.clips_per_shard)))
    for number, rows in parts:
        index = work / f"{number:05d}.parquet"  # written last: where it is, the shard is finished
        if not index.is_file():
            clips = encoded_clips(rows, layout.raw / "shards", vae, text, settings)
            done = list(log.progress(clips, f"shard {number + 1} of {len(parts)}", total=len(rows)))
            write_table(write_latent_shard(work / f"{number:05d}.safetensors", done), index)
    with replacing(work / EMPTY_PROMPT) as part:
        save_file({"text": text([""])}, part)
    found = _publish(work, len(parts), layout.latents)
    shutil.rmtree(work, ignore_errors=True)
    return _figures(found, layout.latents)


def _publish(work: Path, shards: int, target: Path) -> pl.DataFrame:
    """Gather finished shards in ``target``; returns the whole index."""
    index = pl.concat([pl.read_parquet(work / f"{number:05d}.parquet") for number in range(shards)])
    with replacing_folder(target) as folder:
        for name in [*(f"{number:05d}.safetensors" for number in range(shards)), EMPTY_PROMPT]:
            link_or_copy(work / name, folder / name)
        write_table(index, folder / "index.parquet")
    return index


def _figures(index: pl.DataFrame, folder: Path) -> dict[str, float]:
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"clips": len(index), "frames": float(index["num_frames"].sum()), "bytes": float(size)}
