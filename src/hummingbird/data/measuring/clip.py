"""Everything that is measured on one clip, from one decoding of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hummingbird.data.bounds import UNREADABLE
from hummingbird.data.flow import Flow
from hummingbird.data.measuring.frames import Frames
from hummingbird.data.measuring.signals import Signals, condemn, measure_signals
from hummingbird.data.measuring.strips import encode_strip, strip_size
from hummingbird.data.motion import MotionScores, choose_pairs, motion_scores
from hummingbird.data.video_io import VideoError
from hummingbird.models.dover import ViewSizes
from hummingbird.models.dover.views import ViewCollector
from hummingbird.params import Measure

QUALITY, MOTION, STRIP = "quality", "motion", "strip"
PARTS = frozenset({QUALITY, MOTION, STRIP})
_FULL_FRAMES = 4  # looked at in full size by the cheap signals

Picture = NDArray[np.uint8]  # [H, W, 3], RGB


@dataclass(frozen=True, slots=True)
class Look:
    """What one decoding gave. ``motion`` and ``views`` are None where the signals condemn the clip, and all but
    ``problem`` where it cannot be decoded."""

    problem: str = ""  # `unreadable: why`
    signals: Signals | None = None
    motion: MotionScores | None = None
    views: tuple[Tensor, Tensor] | None = None  # for DOVER: aesthetic and technical, on the CPU
    strip: bytes = b""  # JPEG


def look_at(
    video: bytes,
    row: Mapping[str, Any],
    settings: Measure,
    *,
    views: ViewSizes,
    flow: Flow,
    seed: int,
    parts: frozenset[str] = PARTS,
) -> Look:
    """Decode a clip once and measure it.

    Args:
        row: of the clip table; ``clip_id``, ``num_frames``, ``fps``, ``height`` and ``width`` are used.
        views: of DOVER. The places of its fragments follow from ``seed`` and the clip's id alone.
        parts: what to measure, if not everything.
    """
    try:
        return _Plan(row, settings, views, seed, parts).carry_out(video, flow)
    except VideoError as error:
        return Look(problem=f"{UNREADABLE}: {error}")


def clip_seed(clip_id: str, seed: int) -> int:
    """The seed of a clip, the same in every process and whatever else is measured."""
    return int.from_bytes(hashlib.sha256(f"{seed} {clip_id}".encode()).digest()[:8], "big")


class _Plan:
    """Which frames of a clip are wanted, for what and at which size."""

    def __init__(
        self, row: Mapping[str, Any], settings: Measure, views: ViewSizes, seed: int, parts: frozenset[str]
    ) -> None:
        count, height, width = int(row["num_frames"]), int(row["height"]), int(row["width"])
        self.settings, self.parts = settings, parts
        scale = min(1.0, settings.side / min(height, width))
        self.small = (round(height * scale), round(width * scale))
        self.strip_cover = strip_size(height, width, settings.strip_height)
        square = settings.dover_size
        self.dover_cover = (square, square) if square else (height, width)
        self.spread = _spread(count, settings.signal_frames) if QUALITY in parts else []
        self.full = self.spread[:: max(1, len(self.spread) // _FULL_FRAMES)]
        flows = choose_pairs(count, row["fps"], sample_fps=settings.sample_fps, most=settings.flow_pairs)
        self.pairs = flows
        self.flow_numbers = flows.numbers if parts & {QUALITY, MOTION} else []  # frozen frames are a matter of quality
        self.strip = _spread(count, settings.strip_frames, repeat=True) if STRIP in parts else []
        seed = clip_seed(row["clip_id"], seed)
        self.collector = ViewCollector(count, self.dover_cover, views, seed)
        self.view_numbers = self.collector.wanted if QUALITY in parts else frozenset()

    def carry_out(self, video: bytes, flow: Flow) -> Look:
        """Raises :class:`VideoError` where the video cannot be decoded as far as it is wanted."""
        frames = Frames(video)
        small: dict[int, Picture] = {}
        strip: dict[int, Picture] = {}
        full: list[NDArray[np.uint8]] = []
        is_small = {*self.spread, *self.flow_numbers}
        for number in frames.wanted(is_small.union(self.strip, self.view_numbers)):
            if number in is_small:
                small[number] = frames.picture(self.small)
            if number in self.strip:
                strip[number] = frames.picture(self.strip_cover)
            if number in self.full:
                full.append(frames.luma())
            if number in self.view_numbers:
                self.collector.add(number, frames.picture(self.dover_cover))
        return self._measure(small, strip, full, flow)

    def _measure(
        self, small: dict[int, Picture], strip: dict[int, Picture], full: list[NDArray[np.uint8]], flow: Flow
    ) -> Look:
        signals = self._signals(small, full) if QUALITY in self.parts else None
        condemned = signals is not None and bool(condemn(signals, self.settings.spare))
        motion = None
        if MOTION in self.parts and not condemned:
            chosen = [small[number] for number in self.flow_numbers]
            motion = motion_scores(chosen, self.pairs, side=self.settings.side, flow=flow)
        return Look(
            signals=signals,
            motion=motion,
            views=self.collector.views() if QUALITY in self.parts and not condemned else None,
            strip=encode_strip([strip[number] for number in self.strip], self.settings.strip_quality) if strip else b"",
        )

    def _signals(self, small: dict[int, Picture], full: list[NDArray[np.uint8]]) -> Signals:
        numbers = self.flow_numbers
        pairs = [(small[numbers[first]], small[numbers[second]]) for first, second in self.pairs.pairs]
        return measure_signals([small[number] for number in self.spread], pairs, full)


def _spread(count: int, most: int, *, repeat: bool = False) -> list[int]:
    """Numbers of at most ``most`` frames from the first to the last; exactly so many with ``repeat``."""
    return [int(i) for i in np.linspace(0, count - 1, most if repeat else min(most, count)).round()]
