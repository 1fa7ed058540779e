"""A small decoder for the latents of a frozen VAE: the blocks of its decoder, narrower and fewer.

After step distillation the VAE's decoder is 44 % of the student's operations at 16 x 320 x 512. Encoder and latents
stay as they are, so this decoder takes the VAE's place wherever videos are decoded. A smaller decoder for a frozen
encoder, trained by aligning its features, is the idea of Turbo-VAED (https://arxiv.org/abs/2508.09136).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import Decoder, DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import TemporalConvLayer
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hummingbird.errors import UserError


class LightDecoder(ModelMixin, ConfigMixin):
    """diffusers' ``Decoder`` without attention, and a temporal layer behind its middle block.

    It has the levels of the VAE's decoder, so each of its blocks stands for one of the VAE's. It works frame by frame
    but for the temporal layer, a residual convolution over the frames of a clip that is the identity before training.

    Args:
        out_channels: of the pixels, or of the pixel patches that the VAE makes.
        block_out_channels: of each level, from full resolution to the latents'.
        layers_per_block: residual blocks of a level beyond the first.
        temporal: whether there is a temporal layer.
        scaling_factor, shift_factor: of the latents, as the VAE's.
    """

    config_name = "config.json"
    _supports_gradient_checkpointing = True  # in block_features

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (48, 96, 192, 192),
        layers_per_block: int = 0,
        norm_num_groups: int = 16,
        temporal: bool = True,
        scaling_factor: float = 0.18215,
        shift_factor: float | None = None,
    ) -> None:
        super().__init__()
        self.decoder = Decoder(
            in_channels=latent_channels,
            out_channels=out_channels,
            up_block_types=("UpDecoderBlock2D",) * len(block_out_channels),
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            mid_block_add_attention=False,
        )
        self.across_frames = (
            TemporalConvLayer(block_out_channels[-1], norm_num_groups=norm_num_groups) if temporal else None
        )

    def forward(self, z: Tensor, num_frames: int = 1) -> tuple[Tensor, list[Tensor]]:
        """As :func:`block_features`, of raw latents [N, C, h, w]: clips of ``num_frames`` frames, one after another."""
        layer = self.across_frames
        mix = None if layer is None else functools.partial(layer, num_frames=num_frames)
        return block_features(self.decoder, z, mix)

    @apply_forward_hook
    def decode(self, z: Tensor, num_frames: int = 1, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Raw latents [N, C, h, w] -> pixels or pixel patches [N, out_channels, H, W], as ``AutoencoderKL.decode``."""
        sample, _ = self(z, num_frames)
        return DecoderOutput(sample=sample) if return_dict else (sample,)


def block_features(
    decoder: Decoder, hidden: Tensor, behind_middle: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """What ``decoder`` makes of ``hidden`` [N, C, h, w], as its own ``forward``, and what its middle block and each of
    its up blocks give, from the latents' resolution to the full one. Under gradient checkpointing, blocks run again in
    the backward pass."""

    def run(block: nn.Module, hidden: Tensor) -> Tensor:
        if decoder.gradient_checkpointing and torch.is_grad_enabled():
            output: Tensor = decoder._gradient_checkpointing_func(block, hidden)
        else:
            output = block(hidden)
        return output

    hidden = run(decoder.mid_block, decoder.conv_in(hidden))
    if behind_middle is not None:
        hidden = behind_middle(hidden)
    features = [hidden]
    for block in decoder.up_blocks:
        features.append(run(block, features[-1]))
    return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(features[-1]))), features


def vae_features(vae: AutoencoderKL, z: Tensor) -> tuple[Tensor, list[Tensor]]:
    """As :func:`block_features`, of the VAE's own decoder, for raw latents [N, C, h, w]."""
    return block_features(vae.decoder, z if vae.post_quant_conv is None else vae.post_quant_conv(z))


def light_decoder_for(
    vae: AutoencoderKL, channels: tuple[int, ...], layers_per_block: int, norm_groups: int, temporal: bool
) -> LightDecoder:
    """An untrained decoder for the latents of ``vae``, with ``channels`` from full resolution to the latents'.

    Raises:
        UserError: it has other levels than the VAE's decoder, or its channels do not divide into the norms' groups.
    """
    levels = len(vae.config.block_out_channels)
    if len(channels) != levels:
        raise UserError(
            f"decoder.channels names {len(channels)} levels, but the VAE's decoder has {levels}",
            f"give decoder.channels {levels} numbers in params.yaml, from full resolution to the latents'",
        )
    if odd := [number for number in channels if number % norm_groups]:
        raise UserError(
            f"decoder.channels has {odd[0]}, which does not divide into {norm_groups} groups",
            "give multiples of decoder.norm_groups in params.yaml",
        )
    return LightDecoder(
        latent_channels=vae.config.latent_channels,
        out_channels=vae.config.out_channels,
        block_out_channels=channels,
        layers_per_block=layers_per_block,
        norm_num_groups=norm_groups,
        temporal=temporal,
        scaling_factor=vae.config.scaling_factor,
        shift_factor=vae.config.shift_factor,
    )


def decoder_cost(decoder: AutoencoderKL | LightDecoder, frames: int, height: int, width: int) -> tuple[int, int]:
    """Parameters, and floating point operations to decode one clip of latents [C, frames, height, width]; a
    multiplication and an addition are two. Counted on the meta device, at any size."""
    with torch.device("meta"):
        shadow = type(decoder).from_config(decoder.config)
        z = torch.empty(frames, decoder.config.latent_channels, height, width)
    extra = {"num_frames": frames} if decoder.config.get("temporal") else {}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow.decode(z, **extra)
    if isinstance(shadow, AutoencoderKL):  # its encoder is no part of it
        shadow.encoder = shadow.quant_conv = None
    return sum(weight.numel() for weight in shadow.parameters()), counter.get_total_flops()
