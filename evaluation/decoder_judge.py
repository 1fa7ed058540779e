"""How near a light decoder comes to the VAE's own, on clips that it was not trained on, and what both cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from evaluation.reconstruction import flicker, psnr_db, second_difference, ssim
from evaluation.statistics import bootstrap_mean
from hummingbird.data.latents import LatentDataset
from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.models.light_decoder import LightDecoder, decoder_cost
from hummingbird.models.vae import decode_video
from hummingbird.params import Decoder
from hummingbird.runlog import RunLog
from hummingbird.training import processes

SHOWN = 6  # clips on a sheet, by both decoders


class DecoderJudge:
    """Judges the light decoder by the VAE's on held-out clips; a trainer's ``validation``."""

    def __init__(
        self,
        vae: AutoencoderKL,
        light: LightDecoder,
        clips: LatentDataset,
        settings: Decoder,
        folder: Path,
        log: RunLog,
    ) -> None:
        self.vae, self.light, self.folder, self.log = vae.eval(), light, folder, log
        self.every = settings.optim.sample_every
        self.clips = int((clips.index["num_frames"] >= settings.held_out_frames).sum())
        self.size = max(1, min(settings.optim.batch_size, self.clips))
        self.batches = clips.batches(self.size, settings.held_out_frames)

    def __call__(self, step: int) -> float | None:
        """Draw and log how near it is. Gives no score: clips that choose a checkpoint cannot judge it."""
        self.log.metrics(self.figures(), step)
        if processes.is_main():
            self.draw(step)
        return None

    @torch.no_grad()
    def draw(self, step: int) -> None:
        """A sheet with what both decoders make of the same latents."""
        clips, labels = [], []
        for caption, original, light in self._pairs(SHOWN):
            clips += [_pixels(original), _pixels(light)]
            labels += [f"VAE: {caption}", f"light: {float(psnr_db(light[None], original[None])):.1f} dB"]
        sheet = contact_sheet(clips, labels, columns=2)
        save_sheet(sheet, self.folder / f"step_{step:06d}.png")
        self.log.image("decoded", sheet, step)

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Means over the held-out clips, with 95 % intervals; ``*flicker`` as :mod:`evaluation.reconstruction` says."""
        rows: dict[str, list[float]] = {"psnr_db": [], "ssim": [], "flicker": []}
        bend = []
        for _, original, light in self._pairs(self.clips):
            pair = light[None], original[None]
            for name, measure in (("psnr_db", psnr_db), ("ssim", ssim), ("flicker", flicker)):
                rows[name].append(float(measure(*pair)))
            bend.append(float(second_difference(original[None])))
        figures = {"clips": float(self.clips), "original_second_difference": sum(bend) / len(bend)}
        for name, values in rows.items():
            estimate = bootstrap_mean(values)
            figures |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        return figures

    def _pairs(self, most: int) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Caption, and clips [T, 3, H, W] in [0, 1] by the VAE and by the light decoder."""
        training = self.light.training
        self.light.eval()
        for step in range(-(-most // self.size)):
            batch: dict[str, Any] = self.batches(step)
            both = [decode_video(decoder, batch["latents"].to(decoder.device)) for decoder in (self.vae, self.light)]
            left = most - step * self.size
            yield from zip(batch["captions"][:left], *both, strict=False)
        self.light.train(training)


def _pixels(clip: Tensor) -> Any:
    return (clip.movedim(1, -1) * 255).round().to(torch.uint8).cpu().numpy()


def cost_of_both(vae: AutoencoderKL, light: LightDecoder, clips: LatentDataset, frames: int) -> dict[str, float]:
    """Parameters, and operations for one clip of the size that was encoded."""
    height, width = clips.batch(0, 1, frames)["latents"].shape[-2:]
    theirs, ours = (decoder_cost(decoder, frames, height, width) for decoder in (vae, light))
    return {
        "original_params": float(theirs[0]),
        "params": float(ours[0]),
        "original_gflop": theirs[1] / 1e9,
        "gflop": ours[1] / 1e9,
        "gflop_ratio": theirs[1] / ours[1],
    }
