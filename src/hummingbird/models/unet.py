"""The denoiser: diffusers' ``UNet3DConditionModel`` with what VideoCrafter2 and Hummingbird add to it.

Both descend from ModelScope's network, so its blocks are used as they are (facts: same order of layers, same temporal
transformer after ``conv_in``). Added here: an fps embedding summed to the time embedding, an optional middle block
(Hummingbird 0.7B has none), the guidance embedding's projection (``time_cond_proj_dim``, already in the parent) and,
for the miniature, a projection of the mean text embedding and a layout in space and time that is linear in it.
"""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

import torch
from diffusers import ModelMixin, UNet3DConditionModel  # noqa: F401  # diffusers looks ModelMixin up beside VideoUNet
from diffusers.configuration_utils import FrozenDict, register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from diffusers.models.unets.unet_3d_condition import UNet3DConditionOutput
from torch import Tensor, nn

from hummingbird.models.attention import FusedAttention, SharedTextAttention
from hummingbird.models.fast_layers import quicken


class PromptLayout(nn.Module):
    """A smooth map over space and time for each prompt: cosine coefficients, linear in the mean text embedding.

    VideoCrafter2 is told where a feature is only by the zero padding of its convolutions, and learns from millions of
    clips what "moves left" means at each place of each frame. The miniature has minutes. The layout that a prompt asks
    for is nearly linear in its facts, so a linear path finds it within a hundred steps (docs/log.md says what else was
    tried, and that the text encoder was mended at the same time).

    Shapes: text [B, L, D] -> [B * T, channels, h, w], for any T, h and w.
    """

    ORDERS = (4, 4, 4)  # cosines over frames, rows and columns

    def __init__(self, text_width: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.norm = nn.LayerNorm(text_width)
        self.coefficients = nn.Linear(text_width, channels * math.prod(self.ORDERS))
        nn.init.zeros_(self.coefficients.weight)
        nn.init.zeros_(self.coefficients.bias)

    def forward(self, text: Tensor, frames: int, height: int, width: int) -> Tensor:
        coefficients = self.coefficients(self.norm(text.mean(dim=1))).unflatten(1, (self.channels, *self.ORDERS))
        rows, columns = (_cosines(n, size, text) for n, size in zip(self.ORDERS[1:], (height, width), strict=True))
        frame_axis = _cosines(self.ORDERS[0], frames, text)
        return torch.einsum("bcijk,it,jy,kx->btcyx", coefficients, frame_axis, rows, columns).flatten(0, 1)


def _cosines(orders: int, size: int, like: Tensor) -> Tensor:
    """The first cosines of the DCT-II basis on ``size`` places, [orders, size]."""
    places = (torch.arange(size, device=like.device) + 0.5) / size
    return torch.cos(math.pi * torch.arange(orders, device=like.device)[:, None] * places).to(like.dtype)


class VideoUNet(UNet3DConditionModel):
    """Text-conditioned video denoiser.

    Shapes: ``sample`` [B, C, T, h, w], ``timestep`` [] or [B], ``encoder_hidden_states`` [B, L, D],
    ``fps`` [] or [B], ``timestep_cond`` [B, time_cond_proj_dim]; returns the prediction [B, C, T, h, w].

    Args:
        layers_per_block: residual layers of each level on the way down, one number for all or one for each; on the way
            up a level has one more.
        fps_condition: add an embedding of the frame rate to that of the timestep.
        default_fps: the frame rate assumed where none is given (16 in VideoCrafter2).
        has_mid_block: keep the middle block; without it 0.9B becomes 0.7B.
        pooled_text: also add a projection of the mean text embedding (miniature only; not in VideoCrafter2).
        prompt_layout: also add :class:`PromptLayout` to the first features (miniature only).
        temporal_dropout: dropout inside the temporal convolutions (0.1 in VideoCrafter2).
    """

    _supports_gradient_checkpointing = True  # by block, here: diffusers' blocks do not do it themselves

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        up_block_types: tuple[str, ...] = ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int | tuple[int, ...] = 2,
        norm_num_groups: int = 32,
        cross_attention_dim: int = 1024,
        attention_head_dim: int = 64,
        time_cond_proj_dim: int | None = None,
        fps_condition: bool = True,
        default_fps: int = 16,
        has_mid_block: bool = True,
        pooled_text: bool = False,
        prompt_layout: bool = False,
        temporal_dropout: float = 0.1,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block if isinstance(layers_per_block, int) else max(layers_per_block),
            norm_num_groups=norm_num_groups,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            time_cond_proj_dim=time_cond_proj_dim,
        )
        self._forget_parent_config()
        self.gradient_checkpointing = False
        width = block_out_channels[0]
        self.fps_embedding = TimestepEmbedding(width, width * 4) if fps_condition else None
        self.text_projection = nn.Linear(cross_attention_dim, width * 4) if pooled_text else None
        self.layout = PromptLayout(cross_attention_dim, width) if prompt_layout else None
        if not has_mid_block:
            self.mid_block = None
        if not isinstance(layers_per_block, int):
            self._shorten_levels(layers_per_block)
        if time_cond_proj_dim is not None:  # starts as if there were no guidance embedding
            nn.init.zeros_(self.time_embedding.cond_proj.weight)
        self._adapt_blocks(temporal_dropout)
        quicken(self)

    def _shorten_levels(self, counts: tuple[int, ...]) -> None:
        """Leave ``counts`` layers in each level, one more on the way up. An up level's last layer takes the skip of
        another width, so it is one of those that stay."""
        for level, count in enumerate(counts):
            for blocks, kept in (
                (self.down_blocks[level], list(range(count))),
                (self.up_blocks[-1 - level], [*range(count), -1]),
            ):
                for part in ("resnets", "temp_convs", "attentions", "temp_attentions"):
                    if hasattr(blocks, part):
                        layers = getattr(blocks, part)
                        setattr(blocks, part, nn.ModuleList(layers[i] for i in kept))

    def _adapt_blocks(self, temporal_dropout: float) -> None:
        for module in self.modules():
            if isinstance(module, TemporalConvLayer):
                for layer in module.modules():
                    if isinstance(layer, nn.Dropout):
                        layer.p = temporal_dropout
            elif isinstance(module, Transformer2DModel | TransformerTemporalModel):
                reads_text = isinstance(module, Transformer2DModel)
                for block in module.transformer_blocks:
                    block.attn1.set_processor(FusedAttention())
                    block.attn2.set_processor(SharedTextAttention() if reads_text else FusedAttention())

    def _forget_parent_config(self) -> None:
        """Keep only this class's own options in the configuration: loading would refuse those the parent adds."""
        own = inspect.signature(type(self).__init__).parameters
        kept = {key: value for key, value in dict(self.config).items() if key in own or key.startswith("_")}
        self._internal_dict = FrozenDict(kept)

    def _embed(
        self, sample: Tensor, timestep: Tensor | float, text: Tensor, timestep_cond: Tensor | None, fps: Tensor | None
    ) -> Tensor:
        """The sum of all conditions but the frames' text, one row a frame: [B * T, 4 * width]."""
        batch, frames = sample.shape[0], sample.shape[2]
        steps = torch.as_tensor(timestep, device=sample.device).expand(batch)
        embedding = self.time_embedding(self.time_proj(steps).to(sample.dtype), timestep_cond)
        if self.fps_embedding is not None:
            rate = torch.as_tensor(self.config.default_fps if fps is None else fps, device=sample.device).expand(batch)
            embedding = embedding + self.fps_embedding(self.time_proj(rate).to(sample.dtype))
        if self.text_projection is not None:
            embedding = embedding + self.text_projection(text.mean(dim=1))
        return embedding.repeat_interleave(frames, dim=0)

    def forward(  # fewer options than the parent, and fps
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        timestep_cond: Tensor | None = None,
        fps: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet3DConditionOutput | tuple[Tensor]:
        batch, _, frames, height, width = sample.shape
        factor = 2**self.num_upsamplers
        if height % factor or width % factor:
            raise ValueError(f"latent height and width must be multiples of {factor}, got {height} x {width}")
        text = encoder_hidden_states  # one copy a video: SharedTextAttention does not want it repeated for the frames
        embedding = self._embed(sample, timestep, text, timestep_cond, fps)

        hidden = self.conv_in(sample.transpose(1, 2).flatten(0, 1))
        if self.layout is not None:
            hidden = hidden + self.layout(text, frames, height, width)
        hidden = self.transformer_in(hidden, num_frames=frames, return_dict=False)[0]
        skips: tuple[Tensor, ...] = (hidden,)
        for block in self.down_blocks:
            hidden, states = self._run(block, **self._block_inputs(block, hidden, embedding, text, frames))
            skips += states
        if self.mid_block is not None:
            inputs = {"temb": embedding, "encoder_hidden_states": text, "num_frames": frames}
            hidden = self._run(self.mid_block, hidden_states=hidden, **inputs)
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, states = skips[:-count], skips[-count:]
            inputs = self._block_inputs(block, hidden, embedding, text, frames)
            hidden = self._run(block, **inputs, res_hidden_states_tuple=states)
        hidden = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        out = hidden.unflatten(0, (batch, frames)).transpose(1, 2)
        return UNet3DConditionOutput(sample=out) if return_dict else (out,)

    def _run(self, block: nn.Module, **inputs: Any) -> Any:
        """A block's output; under gradient checkpointing its activations are computed again in the backward pass."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(partial(block, **inputs))
        return block(**inputs)

    @staticmethod
    def _block_inputs(block: nn.Module, hidden: Tensor, embedding: Tensor, text: Tensor, frames: int) -> dict[str, Any]:
        inputs: dict[str, Any] = {"hidden_states": hidden, "temb": embedding, "num_frames": frames}
        if getattr(block, "has_cross_attention", False):
            inputs["encoder_hidden_states"] = text
        return inputs


def layer_counts(config: Any) -> tuple[int, ...]:
    """Layers of each level on the way down, from a :class:`VideoUNet`'s configuration."""
    layers = config.layers_per_block
    return (layers,) * len(config.block_out_channels) if isinstance(layers, int) else tuple(layers)


def miniature_unet(text_width: int) -> VideoUNet:
    """The miniature teacher: latents [16, T, 4, 4], two levels, two layers a level, middle block."""
    return VideoUNet(
        in_channels=16,
        out_channels=16,
        down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(40, 80),
        layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=text_width,
        attention_head_dim=8,
        default_fps=8,
        pooled_text=True,
        prompt_layout=True,
        temporal_dropout=0.0,
    )
