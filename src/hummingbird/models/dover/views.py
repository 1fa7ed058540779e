"""What DOVER's two branches see of a video.

*Aesthetic*: frames spread over the clip, the whole picture resized (proportions are not kept).
*Technical*: pieces at full resolution. The frame is divided into a grid; from each cell one fragment is cut at a random
place, the same for all frames of a clip, and the fragments are put together to one small frame (FAST-VQA,
arXiv:2207.02595).

:class:`ViewCollector` makes both from frames that come one by one, so that no video ever lies in memory at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    @property
    def side(self) -> int:
        """Of a technical view, in pixels."""
        return self.grid * self.fragment


@dataclass(frozen=True, slots=True)
class Places:
    """Where the fragments of one technical clip begin, in pixels: [grid, grid] each."""

    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]


class ViewCollector:
    """Gathers the two views of a clip of ``count`` frames, each ``shape`` = (height, width), from single frames.

    ``seed`` places the fragments: the same seed and shape give the same places.
    """

    def __init__(self, count: int, shape: tuple[int, int], sizes: ViewSizes, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._sizes = sizes
        self._aesthetic = aesthetic_frames(count, sizes)
        self._technical = technical_frames(count, sizes)
        self._places = [draw_places(enlarged(shape, sizes.side), sizes, rng) for _ in self._technical]
        self._whole: dict[int, Tensor] = {}
        self._pieces: dict[tuple[int, int], Tensor] = {}
        self.wanted = frozenset(self._aesthetic).union(*map(frozenset, self._technical))

    def add(self, number: int, frame: NDArray[np.uint8]) -> None:
        """Take frame ``number``, uint8 [H, W, 3]; one that is not among ``wanted`` is passed over."""
        sizes = self._sizes
        if number in self._aesthetic and number not in self._whole:
            self._whole[number] = _resize(normalise(frame[None]), (sizes.aesthetic_size, sizes.aesthetic_size))
        for clip, frames in enumerate(self._technical):
            if number in frames and (clip, number) not in self._pieces:
                self._pieces[clip, number] = _cut(frame, self._places[clip], sizes)

    def views(self) -> tuple[Tensor, Tensor]:
        """``([3, T, S, S], [clips, 3, T, S, S])``, the aesthetic and the technical view.

        Raises:
            ValueError: a wanted frame is missing.
        """
        missing = {i for i in self._aesthetic if i not in self._whole}
        missing |= {i for clip, frames in enumerate(self._technical) for i in frames if (clip, i) not in self._pieces}
        if missing:
            raise ValueError(f"frames {sorted(missing)[:5]} of {len(self.wanted)} were never added")
        pieces = [
            torch.cat([self._pieces[clip, i] for i in frames], dim=1) for clip, frames in enumerate(self._technical)
        ]
        return torch.cat([self._whole[i] for i in self._aesthetic], dim=1), torch.stack(pieces)


def aesthetic_frames(count: int, sizes: ViewSizes) -> list[int]:
    """The middle frame of each of T equal segments of ``count`` frames."""
    segments = sizes.aesthetic_frames
    return [int(i) for i in ((np.arange(segments) + 0.5) * count / segments).astype(int)]


def technical_frames(count: int, sizes: ViewSizes) -> list[list[int]]:
    """T frames, a fixed interval apart, for each technical clip. Their starts are spread over the video; one that is
    too short is repeated."""
    length = sizes.technical_frames * sizes.technical_interval
    spare = max(count - length, 0)
    starts = [round(spare * (k + 0.5) / sizes.technical_clips) for k in range(sizes.technical_clips)]
    return [[(start + i) % count for i in range(0, length, sizes.technical_interval)] for start in starts]


def normalise(video: NDArray[np.uint8] | Tensor) -> Tensor:
    """uint8 [T, H, W, 3] -> float [3, T, H, W], zero mean and unit variance over natural images."""
    pixels = torch.as_tensor(video).float()
    return ((pixels - torch.tensor(_MEAN)) / torch.tensor(_STD)).permute(3, 0, 1, 2)


def aesthetic_view(video: NDArray[np.uint8], sizes: ViewSizes) -> Tensor:
    """[3, T, S, S] of a clip uint8 [T, H, W, 3]: the middle frame of each of T equal segments, resized."""
    frames = normalise(video[aesthetic_frames(len(video), sizes)])
    return _resize(frames, (sizes.aesthetic_size, sizes.aesthetic_size))


def technical_view(video: NDArray[np.uint8], sizes: ViewSizes, seed: int) -> Tensor:
    """[clips, 3, T, S, S] of a clip uint8 [T, H, W, 3], S = grid x fragment; one that is smaller than S is enlarged
    first."""
    rng = np.random.default_rng(seed)
    frames = technical_frames(len(video), sizes)
    return torch.stack([fragments(normalise(video[chosen]), sizes, rng) for chosen in frames])


def fragments(clip: Tensor, sizes: ViewSizes, rng: np.random.Generator) -> Tensor:
    """Cut and reassemble [3, T, H, W] to [3, T, S, S]; cells and fragments correspond in order."""
    clip = _resize(clip, enlarged((clip.shape[2], clip.shape[3]), sizes.side))
    return _assemble(clip, draw_places((clip.shape[2], clip.shape[3]), sizes, rng), sizes)


def enlarged(shape: Sequence[int], side: int) -> tuple[int, int]:
    """(height, width), scaled up where the shorter one is below ``side``."""
    height, width = shape
    if min(height, width) >= side:
        return height, width
    scale = side / min(height, width)
    return max(side, round(height * scale)), max(side, round(width * scale))


def draw_places(shape: tuple[int, int], sizes: ViewSizes, rng: np.random.Generator) -> Places:
    """A random place for the fragment of each cell of a frame of ``shape`` = (height, width)."""
    grid, piece = sizes.grid, sizes.fragment
    cells = (shape[0] // grid, shape[1] // grid)
    tops = np.arange(grid)[:, None] * cells[0] + rng.integers(0, cells[0] - piece + 1, size=(grid, grid))
    lefts = np.arange(grid)[None] * cells[1] + rng.integers(0, cells[1] - piece + 1, size=(grid, grid))
    return Places(tops, lefts)


def _cut(frame: NDArray[np.uint8], places: Places, sizes: ViewSizes) -> Tensor:
    """[3, 1, S, S] of one frame uint8 [H, W, 3]. Only what is cut is made a float: a frame may be of 4K."""
    if min(frame.shape[:2]) < sizes.side:
        small = normalise(frame[None])
        return _assemble(_resize(small, enlarged(frame.shape[:2], sizes.side)), places, sizes)
    whole = torch.as_tensor(frame).permute(2, 0, 1)[:, None]
    return normalise(_assemble(whole, places, sizes).permute(1, 2, 3, 0))


def _assemble(clip: Tensor, places: Places, sizes: ViewSizes) -> Tensor:
    """[3, T, H, W] to [3, T, S, S]."""
    piece = sizes.fragment
    rows = [
        torch.cat([clip[:, :, y : y + piece, x : x + piece] for y, x in zip(tops, lefts, strict=True)], dim=3)
        for tops, lefts in zip(places.tops.tolist(), places.lefts.tolist(), strict=True)
    ]
    return torch.cat(rows, dim=2)


def _resize(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """[3, T, H, W] to another height and width, bilinear."""
    if tuple(clip.shape[2:]) == size:
        return clip
    return F.interpolate(clip.transpose(0, 1), size, mode="bilinear", align_corners=False).transpose(0, 1)
