"""Sampling of the clips to be judged: in batches that survive a kill, each written once and never half."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from evaluation.vbench.prompts import Prompt, video_seed
from hummingbird.files import replacing
from hummingbird.models.vae import decode_video, encode_frames, pixels_from_video
from hummingbird.runlog import RunLog


class Generator(Protocol):
    """What makes clips: prompts and seeds -> uint8 [B, T, H, W, 3]. ``None`` stands for the model's own setting."""

    def __call__(self, prompts: list[str], seeds: list[int], *, negative_prompt: str | None = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One clip to be made: the position of its prompt in the suite, and the sampling seed."""

    prompt: int
    seed: int

    @property
    def noise_seed(self) -> int:
        return video_seed(self.seed, self.prompt)


def spread_over_seeds(positions: Iterable[int], seeds: Sequence[int]) -> list[Job]:
    """One job per prompt; prompt ``i`` gets seed ``i mod len(seeds)``, so every seed has its share of all kinds."""
    return [Job(position, seeds[position % len(seeds)]) for position in positions]


def sample(
    generator: Generator,
    jobs: Sequence[Job],
    prompts: Sequence[Prompt],
    cache: Path,
    log: RunLog,
    *,
    batch_size: int,
    negative_prompt: str | None = None,
    name: str = "clips",
) -> NDArray[np.uint8]:
    """Make the clips of ``jobs``, [len(jobs), T, H, W, 3].

    Finished batches lie in ``cache``, which belongs to this model alone, and are read back instead of made again.

    Raises:
        UserError: the cache cannot be written to.
    """
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    clips = []
    for batch in log.progress(batches, f"sampling {name}", len(batches)):
        path = cache / f"{_name(batch, prompts, negative_prompt)}.npy"
        if not path.is_file():
            texts = [prompts[job.prompt].text for job in batch]
            made = generator(texts, [job.noise_seed for job in batch], negative_prompt=negative_prompt)
            with replacing(path) as part, part.open("wb") as file:
                np.save(file, made)
        clips.append(np.load(path))
    return np.concatenate(clips)


def _name(batch: Sequence[Job], prompts: Sequence[Prompt], negative_prompt: str | None) -> str:
    text = repr([(prompts[job.prompt].text, job.noise_seed) for job in batch] + [negative_prompt])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@torch.inference_mode()
def through_vae(folder: Path, clips: NDArray[np.uint8], batch_size: int = 32) -> NDArray[np.uint8]:
    """Clips encoded and decoded by the VAE saved in ``folder``: the ceiling of all that is made in its latent space."""
    vae = AutoencoderKL.from_pretrained(folder).float().eval()
    out = []
    for start in range(0, len(clips), batch_size):
        frames = pixels_from_video(torch.from_numpy(clips[start : start + batch_size]))
        count, length = frames.shape[:2]
        latents = encode_frames(vae, frames.flatten(0, 1)).unflatten(0, (count, length)).transpose(1, 2)
        video = decode_video(vae, latents)
        out.append((video.movedim(-3, -1) * 255).round().to(torch.uint8).numpy())
    return np.concatenate(out)


def fingerprint(folders: Iterable[Path]) -> str:
    """Hash of the names and contents of all files below some folders: clips are reused only for the same weights."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            digest.update(str(path.relative_to(folder)).encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
