"""Other decoders than the VAE's own, from their folders into a pipeline."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from hummingbird.errors import UserError
from hummingbird.files import read_json
from hummingbird.models.light_decoder import LightDecoder
from hummingbird.models.vae import Decoder, downscale_factor
from hummingbird.pipelines.text_to_video import TextToVideoPipeline

CLASSES = {"LightDecoder": LightDecoder, "AutoencoderTiny": AutoencoderTiny, "AutoencoderKL": AutoencoderKL}
OWN_SCALE = AutoencoderTiny  # takes normalised latents: its scaling factor is 1 whatever the VAE's


def load_decoder(folder: Path) -> Decoder:
    """The decoder saved in ``folder`` in diffusers' format, frozen, in single precision.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    try:
        name = read_json(folder / "config.json").get("_class_name")
    except ValueError:
        name = None
    if name not in CLASSES:
        raise UserError(f"{folder} holds no decoder", f"name a folder with a {', '.join(CLASSES)} in diffusers' format")
    try:
        decoder: LightDecoder = CLASSES[name].from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"the decoder in {folder} cannot be read: {error}", "make it again, or name another folder"
        ) from error
    return decoder.requires_grad_(False).eval()


def with_decoder(pipeline: TextToVideoPipeline, decoder: Decoder) -> TextToVideoPipeline:
    """``pipeline`` with ``decoder`` in the VAE's place, where its denoiser is; everything else is shared.

    Raises:
        UserError: the decoder is for other latents.
    """
    ours, theirs = decoder.config.latent_channels, pipeline.vae.config.latent_channels
    if ours != theirs:
        raise UserError(
            f"this decoder takes latents of {ours} channels, but those of the model have {theirs}",
            "choose --decoder original, or a decoder made for this model's VAE",
        )
    if downscale_factor(decoder) != downscale_factor(pipeline.vae):
        raise UserError(
            f"this decoder makes {downscale_factor(decoder)} pixels of a latent position along each side, but the VAE "
            f"{downscale_factor(pipeline.vae)}",
            "choose --decoder original, or a decoder made for this model's VAE",
        )
    if not isinstance(decoder, OWN_SCALE) and scale_of(decoder) != scale_of(pipeline.vae):
        raise UserError(
            f"this decoder was made for latents of scale and shift {scale_of(decoder)}, but the model's have "
            f"{scale_of(pipeline.vae)}",
            "choose --decoder original, or train one for this VAE: dvc repro decoder",
        )
    other = copy.copy(pipeline)
    other.register_modules(vae=decoder.to(pipeline.unet.device))  # type: ignore[attr-defined]
    return other


def scale_of(decoder: Decoder) -> tuple[float, float]:
    """Scale and shift of the latents that ``decoder`` is made for, to six digits."""
    config = decoder.config
    scale, shift = (float(f"{value:.6g}") for value in (config.scaling_factor, config.shift_factor or 0.0))
    return scale, shift
