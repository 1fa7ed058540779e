"""Miniature scorers of VBench's seven quality dimensions: how a clip looks, whatever it was asked to show.

Each takes uint8 clips [B, T, H, W, 3], their prompts and the judges, and returns one raw VBench score per clip. Where
VBench's own formula needs no large network it is used unchanged; where it does, a small network takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from evaluation.vbench.flow import Frames, enlarge, interpolate, largest_motion
from evaluation.vbench.judges import Judges, Scores, Videos
from evaluation.vbench.prompts import Prompt

_FLOW_PER_PIXEL = 6.0 / 256  # a clip moves when its largest flow exceeds 6 pixels at 256 pixels a side
_MOVING_PAIRS = 4 / 16  # in 4 of 16 frames
_CORNER = 1 / 4  # side of the corners that count as background, as a share of the frame


def subject_consistency(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """Cosine of each frame's features with the first and the previous frame's, as in VBench (there DINO's)."""
    return _consistency(judges.image_features(videos))


def background_consistency(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """The same on the four corners put side by side, where the subject seldom comes (VBench: CLIP, whole frames)."""
    height, width = (max(1, round(side * _CORNER)) for side in videos.shape[2:4])
    rows = np.concatenate([videos[:, :, :height], videos[:, :, -height:]], axis=2)
    corners = np.concatenate([rows[:, :, :, :width], rows[:, :, :, -width:]], axis=3)
    return _consistency(judges.image_features(np.ascontiguousarray(corners)))


def _consistency(features: Tensor) -> Scores:
    """Unit features [B, T, D] -> mean over frames 1.. of (cosine with frame 0 + cosine with the one before) / 2."""
    with_first = (features[:, 1:] * features[:, :1]).sum(-1)
    with_previous = (features[:, 1:] * features[:, :-1]).sum(-1)
    score = (with_first.clamp(min=0) + with_previous.clamp(min=0)) / 2
    return score.mean(1).clamp(max=1).double().numpy()


def temporal_flickering(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """VBench's formula: ``(255 - mean absolute difference of neighbouring frames) / 255``, on static prompts."""
    change = np.abs(np.diff(videos.astype(np.float32), axis=1)).mean(axis=(1, 2, 3, 4))
    return ((255 - change) / 255).astype(np.float64)


def motion_smoothness(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """VBench's formula, ``(255 - error) / 255``: every other frame is dropped and interpolated again (there by AMT)."""
    return np.array([(255 - _interpolation_error(video)) / 255 for video in videos])


def _interpolation_error(video: Frames) -> float:
    frames = enlarge(video)
    errors = [
        np.abs(interpolate(frames[t - 1], frames[t + 1]).astype(np.float32) - frames[t]).mean()
        for t in range(1, len(frames) - 1, 2)
    ]
    return float(np.mean(errors))


def dynamic_degree(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """1 where the clip moves, by VBench's rule and thresholds (flow there by RAFT), else 0."""
    return np.array([float(_moves(video)) for video in videos])


def _moves(video: Frames) -> bool:
    frames = enlarge(video)
    threshold = _FLOW_PER_PIXEL * min(frames.shape[1:3])
    needed = max(1, round(_MOVING_PAIRS * len(frames)))
    motions = [largest_motion(first, second) for first, second in pairwise(frames)]
    return sum(motion > threshold for motion in motions) >= needed


def aesthetic_quality(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """DOVER's aesthetic part: composition and content, seen small (VBench: a linear head on CLIP)."""
    return judges.quality(videos).aesthetic.double().cpu().numpy()


def imaging_quality(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """DOVER's technical part: blur, noise, compression and exposure, seen at full resolution (VBench: MUSIQ)."""
    return judges.quality(videos).technical.double().cpu().numpy()
