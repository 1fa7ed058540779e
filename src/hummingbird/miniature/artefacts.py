"""The ways in which *generated* clips are bad, in mild form: hard negatives for the rewards, tolerance for the probe.

All functions take and return clips [B, T, 3, H, W] in [0, 1] and draw from the given generator only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Artefact = Callable[[Tensor, Generator], Tensor]


def _uniform(clips: Tensor, low: float, high: float, g: Generator) -> Tensor:
    """One number per clip, [B, 1, 1, 1, 1]."""
    return torch.empty(len(clips), 1, 1, 1, 1).uniform_(low, high, generator=g)


def _resize(frames: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    flat = F.interpolate(frames.flatten(0, 1), size, mode=mode, align_corners=False, antialias=mode != "nearest")
    return flat.unflatten(0, frames.shape[:2])


def _smooth(clips: Tensor, weight: Tensor) -> Tensor:
    """Blend towards a 3x3 binomial blur; ``weight`` 1 is a Gaussian of about 0.7 pixels."""
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    padded = F.pad(clips.flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    blurred = F.conv2d(padded, kernel, groups=3).unflatten(0, clips.shape[:2])
    return torch.lerp(clips, blurred, weight)


def noise(clips: Tensor, g: Generator) -> Tensor:
    """Independent pixel noise."""
    return clips + torch.randn(clips.shape, generator=g) * _uniform(clips, 0.035, 0.1, g)


def blotches(clips: Tensor, g: Generator) -> Tensor:
    """Coarse coloured noise that changes with every frame: what an unfinished latent decodes to."""
    batch, frames, _, height, width = clips.shape
    coarse = torch.randn(batch, frames, 3, height // 4, width // 4, generator=g) * _uniform(clips, 0.06, 0.15, g)
    return clips + _resize(coarse, (height, width))


def blur(clips: Tensor, g: Generator) -> Tensor:
    """Lost detail: smoothing between 0.8 and 1.2 pixels."""
    once = _smooth(clips, torch.ones(1))
    return _smooth(_smooth(once, _uniform(clips, 0.3, 1.0, g)), _uniform(clips, 0.0, 1.0, g))


def wobble(clips: Tensor, g: Generator) -> Tensor:
    """Shapes that bend, differently in every frame: a smooth random warp of about 1.5 pixels."""
    batch, frames, _, height, width = clips.shape
    flow = torch.randn(batch * frames, 2, 4, 4, generator=g) * 2.2 / max(height, width) * 2
    flow = F.interpolate(flow, (height, width), mode="bicubic", align_corners=True).movedim(1, -1)
    grid = F.affine_grid(torch.eye(2, 3).expand(batch * frames, 2, 3), [batch * frames, 3, height, width], False)
    warped = F.grid_sample(clips.flatten(0, 1), grid + flow, padding_mode="border", align_corners=False)
    return warped.unflatten(0, (batch, frames))


def ghost(clips: Tensor, g: Generator) -> Tensor:
    """Another clip shines through."""
    other = clips[torch.randperm(len(clips), generator=g)]
    return torch.lerp(clips, other, _uniform(clips, 0.2, 0.45, g))


def flicker(clips: Tensor, g: Generator) -> Tensor:
    """Brightness that jumps from frame to frame."""
    gain = torch.randn(*clips.shape[:2], 1, 1, 1, generator=g) * _uniform(clips, 0.06, 0.2, g)
    return clips * (1 + gain)


def colour_jitter(clips: Tensor, g: Generator) -> Tensor:
    """Colour casts that jump from frame to frame."""
    return clips + torch.randn(*clips.shape[:2], 3, 1, 1, generator=g) * _uniform(clips, 0.03, 0.09, g)


def patchwork(clips: Tensor, g: Generator) -> Tensor:
    """A coherent half and a torn half: from some frame on, the clip goes on as another one."""
    other = clips[torch.randperm(len(clips), generator=g)]
    frames = clips.shape[1]
    cut = torch.randint(2, frames - 1, (len(clips), 1), generator=g)
    return torch.where((torch.arange(frames) < cut)[..., None, None, None], clips, other)


def exposure(clips: Tensor, g: Generator) -> Tensor:
    """Too much or too little contrast, the same in all frames: what too much guidance, or too little, does."""
    gain = torch.where(_uniform(clips, 0, 1, g) < 0.5, _uniform(clips, 0.55, 0.8, g), _uniform(clips, 1.25, 1.6, g))
    middle = clips.mean(dim=(1, 2, 3, 4), keepdim=True)
    return middle + (clips - middle) * gain


FRAME_ARTEFACTS: tuple[Artefact, ...] = (noise, blotches, blur, wobble, ghost, exposure)
CLIP_ARTEFACTS: tuple[Artefact, ...] = (*FRAME_ARTEFACTS, flicker, colour_jitter, patchwork)


def apply_artefacts(clips: Tensor, kinds: tuple[Artefact, ...], g: Generator) -> Tensor:
    """Give every clip one artefact, drawn from ``kinds``; clamped to [0, 1]."""
    drawn = torch.randint(len(kinds), (len(clips),), generator=g)
    out = clips.clone()
    for index, kind in enumerate(kinds):
        chosen = (drawn == index).nonzero().flatten()
        if len(chosen) > 0:
            out[chosen] = kind(clips[chosen], g)
    return out.clamp(0, 1)


def natural_variation(clips: Tensor, g: Generator, shift: int = 2) -> Tensor:
    """What a good clip may differ by: a shift of at most ``shift`` pixels and the traces of an autoencoder."""
    height, width = clips.shape[-2:]
    padded = F.pad(clips.flatten(0, 1), (shift,) * 4, mode="replicate").unflatten(0, clips.shape[:2])
    corners = torch.randint(2 * shift + 1, (len(clips), 2), generator=g).tolist()
    moved = torch.stack([c[..., y : y + height, x : x + width] for c, (y, x) in zip(padded, corners, strict=True)])
    moved = _smooth(moved, _uniform(clips, 0.0, 0.35, g) * (_uniform(clips, 0, 1, g) < 0.5))
    return (moved + torch.randn(moved.shape, generator=g) * _uniform(clips, 0.0, 0.012, g)).clamp(0, 1)
