"""Ways in which crawled video is bad, applied to clean clips of the miniature world."""

from __future__ import annotations

import cv2
import numpy as np

from hummingbird.data.world import QUALITY_SPOILAGE, Video


def _blur(video: Video, rng: np.random.Generator) -> Video:
    sigma = rng.uniform(1.5, 2.4) * video.shape[1] / 32
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def _noise(video: Video, rng: np.random.Generator) -> Video:
    sigma = rng.uniform(22, 42)
    return np.clip(video + rng.normal(0, sigma, video.shape), 0, 255).astype(np.uint8)


def _compression(video: Video, rng: np.random.Generator) -> Video:
    """JPEG at a hopeless quality: the 8x8 block artefacts of a starved encoder, frame by frame."""
    quality = int(rng.integers(4, 9))
    out = []
    for frame in video:
        data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # it was encoded a line above
        out.append(decoded[..., ::-1])
    return np.stack(out)


def _dark(video: Video, rng: np.random.Generator) -> Video:
    return (video * rng.uniform(0.12, 0.26)).astype(np.uint8)


def _washed_out(video: Video, rng: np.random.Generator) -> Video:
    strength = rng.uniform(0.62, 0.78)
    return (video * (1 - strength) + 235 * strength).astype(np.uint8)


_DEGRADE = {"blur": _blur, "noise": _noise, "compression": _compression, "dark": _dark, "washed_out": _washed_out}


def degrade(video: Video, kind: str, rng: np.random.Generator) -> Video:
    """Spoil ``video`` (uint8 [T, H, W, 3]) in one of :data:`~hummingbird.data.world.QUALITY_SPOILAGE`."""
    if kind not in _DEGRADE:
        raise ValueError(f"unknown kind of spoiling {kind!r}; choose from {', '.join(QUALITY_SPOILAGE)}")
    return _DEGRADE[kind](video, rng)
