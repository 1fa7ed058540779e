"""Leaving blocks of a UNet out where they stand: what they add is removed, the shapes around them stay.

A block is a layer of a level (residual layer, temporal convolution, spatial and temporal transformer), the middle block
or the temporal transformer after ``conv_in``. Samplers are none: without them the shapes would not fit.

All parts of a block are residual. Left out, a temporal convolution and a transformer pass on what they get, and so does
a residual layer; where its widths differ, it still projects (``conv_shortcut``, as in every layer of the decoder, which
takes the features before it beside a skip connection).

So any block can be left out, also one that no plan may drop. :func:`~hummingbird.models.pruning.prune` goes further: it
removes a layer of the encoder with its skip connection and one of the decoder with its projection, so that the layers
left are paired anew. The two are the same for the middle block, which no skip connection touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from torch import Tensor, nn

from hummingbird.models.unet import VideoUNet

_LAYER_PARTS = ("resnets", "temp_convs", "attentions", "temp_attentions")


def blocks(unet: VideoUNet) -> dict[str, list[nn.Module]]:
    """The parts of every block, in the order of the forward pass; named as in
    :class:`~hummingbird.models.blocks.BlockRow`."""
    found = {"transformer_in": [unet.transformer_in]}
    found |= _layers(unet, "down_blocks")
    if unet.mid_block is not None:
        found["mid_block"] = [module for part in _LAYER_PARTS for module in getattr(unet.mid_block, part)]
    return found | _layers(unet, "up_blocks")


def _layers(unet: VideoUNet, group: str) -> dict[str, list[nn.Module]]:
    return {
        f"{group}.{number}.{layer}": [getattr(level, part)[layer] for part in _LAYER_PARTS if hasattr(level, part)]
        for number, level in enumerate(getattr(unet, group))
        for layer in range(len(level.resnets))
    }


@contextmanager
def left_out(unet: VideoUNet, names: Iterable[str]) -> Iterator[None]:
    """Within it, ``unet`` works without the named blocks. It is as before afterwards, also after an error.

    Raises:
        KeyError: the network has no such block.
    """
    parts = blocks(unet)
    modules = [module for name in names for module in parts[name]]
    before = [vars(module).get("forward") for module in modules]  # something else may have replaced it, too
    try:
        for module in modules:
            module.forward = _bypass(module)
        yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            if forward is not None:
                module.forward = forward
            else:
                vars(module).pop("forward", None)


def _bypass(module: nn.Module) -> Callable[..., Any]:
    """What a part does without its residual branch."""

    def shortcut(hidden: Tensor, temb: Tensor | None = None) -> Tensor:
        projection: Any = module.conv_shortcut
        out: Tensor = hidden if projection is None else projection(hidden)
        return out

    def same(hidden: Tensor, num_frames: int = 1) -> Tensor:
        return hidden

    def same_in_tuple(hidden: Tensor, **_: Any) -> tuple[Tensor]:
        return (hidden,)

    if isinstance(module, ResnetBlock2D):
        return shortcut
    return same if isinstance(module, TemporalConvLayer) else same_in_tuple
