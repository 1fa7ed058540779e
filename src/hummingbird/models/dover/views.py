"""What DOVER's two branches see of a video.

*Aesthetic*: frames spread over the clip, the whole picture resized (proportions are not kept).
*Technical*: pieces at full resolution. The frame is divided into a grid; from each cell one fragment is cut at a random
place, the same for all frames of a clip, and the fragments are put together to one small frame (FAST-VQA,
arXiv:2207.02595).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Of ImageNet, on a scale of 0..255, RGB.
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class ViewSizes:
    """Sizes of the two views. The defaults are DOVER's."""

    aesthetic_frames: int = 32
    aesthetic_size: int = 224
    technical_clips: int = 3
    technical_frames: int = 32
    technical_interval: int = 2
    grid: int = 7  # fragments along each side
    fragment: int = 32  # pixels along the side of a fragment


def normalise(video: NDArray[np.uint8] | Tensor) -> Tensor:
    """uint8 [T, H, W, 3] -> float [3, T, H, W], zero mean and unit variance over natural images."""
    pixels = torch.as_tensor(video).float()
    return ((pixels - torch.tensor(_MEAN)) / torch.tensor(_STD)).permute(3, 0, 1, 2)


def aesthetic_view(video: NDArray[np.uint8], sizes: ViewSizes) -> Tensor:
    """[3, T, S, S] of a clip uint8 [T, H, W, 3]: the middle frame of each of T equal segments, resized."""
    count = sizes.aesthetic_frames
    frames = ((np.arange(count) + 0.5) * len(video) / count).astype(int)
    return _resize(normalise(video[frames]), (sizes.aesthetic_size, sizes.aesthetic_size))


def technical_view(video: NDArray[np.uint8], sizes: ViewSizes, seed: int) -> Tensor:
    """[clips, 3, T, S, S] of a clip uint8 [T, H, W, 3], S = grid x fragment.

    The clips' starts are spread over the video; a video that is too short is repeated. One that is smaller than S is
    enlarged first.
    """
    count, interval = sizes.technical_frames, sizes.technical_interval
    spare = max(len(video) - count * interval, 0)
    rng = np.random.default_rng(seed)
    views = []
    for k in range(sizes.technical_clips):
        start = round(spare * (k + 0.5) / sizes.technical_clips)
        frames = (start + np.arange(count) * interval) % len(video)
        views.append(fragments(normalise(video[frames]), sizes, rng))
    return torch.stack(views)


def fragments(clip: Tensor, sizes: ViewSizes, rng: np.random.Generator) -> Tensor:
    """Cut and reassemble [3, T, H, W] to [3, T, S, S]; cells and fragments correspond in order."""
    grid, piece = sizes.grid, sizes.fragment
    side = grid * piece
    height, width = clip.shape[2:]
    if min(height, width) < side:
        scale = side / min(height, width)
        clip = _resize(clip, (max(side, round(height * scale)), max(side, round(width * scale))))
        height, width = clip.shape[2:]
    cells = (height // grid, width // grid)
    tops = np.arange(grid)[:, None] * cells[0] + rng.integers(0, cells[0] - piece + 1, size=(grid, grid))
    lefts = np.arange(grid)[None] * cells[1] + rng.integers(0, cells[1] - piece + 1, size=(grid, grid))
    rows = [
        torch.cat([clip[:, :, y : y + piece, x : x + piece] for y, x in zip(tops[i], lefts[i], strict=True)], dim=3)
        for i in range(grid)
    ]
    return torch.cat(rows, dim=2)


def _resize(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """[3, T, H, W] to another height and width, bilinear."""
    if tuple(clip.shape[2:]) == size:
        return clip
    return F.interpolate(clip.transpose(0, 1), size, mode="bilinear", align_corners=False).transpose(0, 1)
