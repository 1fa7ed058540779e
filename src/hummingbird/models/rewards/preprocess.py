"""From pixels in [0, 1] to what a CLIP-like vision tower takes; differentiable throughout."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def prepare_frames(frames: Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Resize the shorter side to ``size`` (bicubic, antialiased), crop the centre, normalise.

    Equal to torchvision's ``Resize`` + ``CenterCrop`` + ``Normalize`` on float tensors: no rounding to 8 bits and no
    clamp, so overshoot is kept.

    Args:
        frames: [N, 3, H, W] in [0, 1].

    Returns:
        [N, 3, size, size].
    """
    height, width = frames.shape[-2:]
    if (height, width) != (size, size):
        short = min(height, width)
        target = [int(size * height / short), int(size * width / short)]
        frames = F.interpolate(frames, size=target, mode="bicubic", align_corners=False, antialias=True)
        top, left = (round((side - size) / 2) for side in target)
        frames = frames[..., top : top + size, left : left + size]
    shift = frames.new_tensor(mean).view(3, 1, 1)
    scale = frames.new_tensor(std).view(3, 1, 1)
    return (frames - shift) / scale


def token_ids(tokenizer: CLIPTokenizer, prompts: list[str]) -> Tensor:
    """Token ids [B, L], cut to the tokenizer's length and padded to the longest prompt.

    The text towers are causal and pool at the first end of text, so neither the padding nor its mask matters.
    """
    return tokenizer(prompts, padding=True, truncation=True, return_tensors="pt").input_ids
