"""From pixels in [0, 1] to what a CLIP-like vision tower takes; differentiable throughout, except for bytes."""

from __future__ import annotations

import html

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: How the longer side follows when the shorter becomes ``size``: rounded down as in torchvision's ``Resize`` (HPSv2),
#: rounded to the nearest (T2V-Turbo's video rewards), or not at all: both sides become ``size`` (its PickScore).
FITS = ("truncate", "round", "squash")


def prepare_frames(
    frames: Tensor,
    size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    fit: str = "truncate",
    *,
    corner: tuple[int, int] | None = None,
    antialias: bool = True,
) -> Tensor:
    """Resize (bicubic, antialiased), crop, normalise.

    Equal to torchvision's ``Resize`` + ``CenterCrop`` + ``Normalize`` on float tensors: no rounding to 8 bits and no
    clamp, so overshoot is kept.

    Args:
        frames: [N, 3, H, W] in [0, 1].
        fit: one of :data:`FITS`.
        corner: top and left of the crop, where it is drawn at random; by default the centre is kept.
        antialias: False as in torchvision before 0.17, for scores that were published with it.

    Returns:
        [N, 3, size, size].

    Raises:
        ValueError: not RGB frames, or an unknown ``fit``.
    """
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(f"frames of shape {list(frames.shape)}; a reward takes RGB frames [N, 3, H, W]")
    if frames.shape[-2:] != (size, size):
        frames = _crop(_resize(frames, size, fit, antialias), size, corner)
    return _normalize(frames, mean, std)


def prepare_bytes(frames: Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """VBench's way to ViCLIP: as :func:`prepare_frames`, but on bytes, without antialiasing, rounded and clamped.

    Args:
        frames: uint8 [N, 3, H, W].

    Returns:
        The normalised frames [N, 3, size, size], and the bytes that they were made of.
    """
    resized = _resize(frames.float(), size, "truncate", antialias=False).round().clamp(0, 255)
    cropped = _crop(resized, size).to(torch.uint8)
    return _normalize(cropped / 255, mean, std), cropped


def pick_frames(video: Tensor, count: int, start: int = 0) -> Tensor:
    """``count`` frames of clips [B, T, ...]: every ``stride``-th from ``start``, where ``stride = T // count``.

    T2V-Turbo draws ``start`` from [0, stride). A clip of no more than ``count`` frames stays as it is.

    Raises:
        ValueError: ``start`` is outside [0, stride).
    """
    if video.shape[1] <= count:
        return video
    stride = video.shape[1] // count
    if not 0 <= start < stride:
        raise ValueError(f"start {start} is outside [0, {stride})")
    return video[:, start::stride][:, :count]


def token_ids(tokenizer: CLIPTokenizer, prompts: list[str], max_length: int | None = None) -> Tensor:
    """Token ids [B, L], cut to the tokenizer's length (or ``max_length``) and padded to the longest prompt.

    The text towers are causal and pool at the first end of text, so neither the padding nor its mask matters. Web
    captions may hold entities (``&amp;``), sometimes escaped twice; as in CLIP, they are read as what they stand for.
    """
    length = min(tokenizer.model_max_length, max_length or tokenizer.model_max_length)
    plain = [html.unescape(html.unescape(prompt)) for prompt in prompts]
    return tokenizer(plain, padding=True, truncation=True, max_length=length, return_tensors="pt").input_ids


def _resize(frames: Tensor, size: int, fit: str, antialias: bool) -> Tensor:
    if fit not in FITS:
        raise ValueError(f"unknown fit {fit!r}; choose from {', '.join(FITS)}")
    height, width = frames.shape[-2:]
    short = min(height, width)
    exact = [size * height / short, size * width / short]
    target = [size, size] if fit == "squash" else [round(side) if fit == "round" else int(side) for side in exact]
    return F.interpolate(frames, size=target, mode="bicubic", align_corners=False, antialias=antialias)


def _crop(frames: Tensor, size: int, corner: tuple[int, int] | None = None) -> Tensor:
    # round: half to even, as torchvision's CenterCrop
    top, left = corner or [round((side - size) / 2) for side in frames.shape[-2:]]
    return frames[..., top : top + size, left : left + size]


def _normalize(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    shift = frames.new_tensor(mean).view(3, 1, 1)
    scale = frames.new_tensor(std).view(3, 1, 1)
    return (frames - shift) / scale
