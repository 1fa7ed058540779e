"""Layers of diffusers' video UNet with the same weights and results, in forms that run faster.

Each is a subclass of diffusers' or torch's layer that adds no state, so parameters keep their names and checkpoints
their format. What each of them gains is measured in docs/paper-scale.md ("Speed of a forward").
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel, TransformerTemporalModelOutput
from torch import Tensor, nn


class FrameConv(nn.Conv3d):
    """A convolution over frames alone, kernel (k, 1, 1), as one in two dimensions: frames, and all places as the other.

    torch has no fast kernel on a CPU for a convolution in three dimensions, and a good one for two.

    Shapes: [B, C, T, h, w] -> [B, C', T, h, w].
    """

    def forward(self, input: Tensor) -> Tensor:
        flat = F.conv2d(
            input.flatten(3),
            self.weight.squeeze(-1),
            self.bias,
            stride=self.stride[:2],
            padding=self.padding[:2],
            dilation=self.dilation[:2],
            groups=self.groups,
        )
        return flat.unflatten(3, input.shape[3:])


class SplitGEGLU(GEGLU):
    """GEGLU (Shazeer, https://arxiv.org/abs/2002.05202) with a product for each half, on a CPU.

    The halves of one product are not contiguous in memory, where a CPU's GELU and multiplication are several times
    slower. On other devices one large product is better than two, and a product with an adapter is left to it.

    Shapes: [..., dim_in] -> [..., dim_out].
    """

    NARROWEST = 1024  # outputs; with fewer, as in the miniature, a second product costs what the rest saves

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        on_cpu, plain = hidden_states.device.type == "cpu", type(self.proj) is nn.Linear
        if not on_cpu or not plain or self.proj.out_features < self.NARROWEST:
            return super().forward(hidden_states, *args, **kwargs)
        weights = self.proj.weight.chunk(2)
        biases = (None, None) if self.proj.bias is None else self.proj.bias.chunk(2)
        value, gate = (F.linear(hidden_states, w, b) for w, b in zip(weights, biases, strict=True))
        return F.gelu(gate).mul_(value)


class PlaceTransformer(TransformerTemporalModel):
    """diffusers' transformer over the frames of each place, which moves the features through memory less often.

    The first projection's product brings them from [channel, frame, place] to [frame, place, channel], where diffusers
    makes a copy of scattered values before it; then whole rows of channels are moved.

    Shapes: [B * T, C, h, w] -> the same.
    """

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        timestep: Tensor | None = None,
        class_labels: Tensor | None = None,
        num_frames: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> TransformerTemporalModelOutput | tuple[Tensor]:
        height, width = hidden_states.shape[2:]
        videos = hidden_states.unflatten(0, (-1, num_frames))  # [B, T, C, h, w]
        features = self.norm(videos.transpose(1, 2)).flatten(2)  # [B, C, T * h * w]
        rows = self.proj_in(features.transpose(1, 2)).unflatten(1, (num_frames, -1))  # [B, T, h * w, C']
        tokens = rows.transpose(1, 2).flatten(0, 1)  # [B * h * w, T, C']
        for block in self.transformer_blocks:
            tokens = block(
                tokens,
                encoder_hidden_states=encoder_hidden_states,
                timestep=timestep,
                cross_attention_kwargs=cross_attention_kwargs,
                class_labels=class_labels,
            )
        change = self.proj_out(tokens).unflatten(0, (-1, height, width))  # [B, h, w, T, C]
        output = (videos + change.permute(0, 3, 4, 1, 2)).flatten(0, 1)
        return TransformerTemporalModelOutput(sample=output) if return_dict else (output,)


def quicken(network: nn.Module) -> None:
    """Give the layers of ``network`` the forms above, in place."""
    for module in network.modules():
        if type(module) is nn.Conv3d and _is_over_frames(module):
            module.__class__ = FrameConv
        elif type(module) is GEGLU:
            module.__class__ = SplitGEGLU
        elif type(module) is TransformerTemporalModel:
            module.__class__ = PlaceTransformer


def _is_over_frames(conv: nn.Conv3d) -> bool:
    """Whether each place is computed by itself."""
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    return conv.kernel_size[1:] == conv.stride[1:] == (1, 1) and conv.padding[1:] == (0, 0)
