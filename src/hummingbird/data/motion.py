"""What moves in a clip, by dense optical flow and a model of the camera. Needs no weights.

Between neighbouring frames the flow near the frame's border is explained by one similarity (pan, zoom, rotation). What
it does not explain is subject motion. Defects follow:

* *static*: no frame differs anywhere from the first; a photograph sold as a video.
* *jitter*: the camera's path does not run smoothly, the clip shakes.
* *dolly zoom*: the background scales and the subject does not. A normal zoom scales both, and a camera that travels
  forwards moves what lies between them at every rate between theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from hummingbird.data.bounds import MOTION_BOUNDS, first_crossed
from hummingbird.data.camera import BORDER, Model, background, camera_flow, fit_camera, forward_share
from hummingbird.data.flow import Field, Flow, Frame, dis_flow
from hummingbird.params import MotionFilter

Gray = NDArray[np.uint8]  # [H, W]

_HELD = 0.35  # a point is held when it moves less than this share of what the camera model predicts
_FOLLOWS = 0.7  # ... and follows the camera from this share on
_TELLING = 1.0  # pixels by which the camera must move a point before holding still means something
_STILL_LEVEL = 3.0  # grey levels (of 255), after denoising, below which two frames are the same picture
_STILL_SHARE = 99  # ... in this percentile of the pixels: a small moving thing makes the clip alive
_MIN_ZOOM = 0.25  # log scale over the clip: a factor of 1.28
_FORWARD = 0.33  # share of the moving texture from which on the camera travels
# A camera is fixed that over the clip moves less than these: a share of the shorter side, log scale, radians.
_FIXED_PAN, _FIXED_ZOOM, _FIXED_ROTATION = 0.04, 0.05, 0.05
_TRIM = 0.2
_SMOOTH = 5  # pairs in the running median that a smooth path keeps to


@dataclass(frozen=True, slots=True)
class MotionScores:
    """Motion of a whole clip. Lengths are shares of the frame's shorter side."""

    camera_pan: float  # length of the camera's total displacement
    camera_zoom: float  # total log scale: positive when the picture grows
    camera_rotation: float  # total, in radians
    jitter: float  # median distance of the camera's velocity from a smooth one, per second
    forward: float  # share of the moving texture that shows the camera travel: above 0 forwards, below 0 backwards
    subject_motion: float  # mean per pair of the fastest tenth of the flow that the camera does not explain
    static: float  # share of the frames that are the same picture as the first
    dolly_zoom: float  # share of the telling texture that stays put while the background zooms


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which frames of a clip flow is measured between.

    ``numbers`` are the frames, in order, and ``pairs`` places in that list. ``rate``: pairs per second, if they were
    end to end. ``whole``: how many times the clip is as long as the pairs together.
    """

    numbers: list[int]
    pairs: list[tuple[int, int]]
    rate: float
    whole: float


def choose_pairs(count: int, fps: float, *, sample_fps: float = 30.0, most: int = 23) -> Pairs:
    """At most ``most`` pairs of frames that are about 1 / ``sample_fps`` seconds apart, spread over a clip of ``count``
    frames; end to end where the clip is short.

    Neighbours tell more than distant frames: what is fast looks like noise over longer times.
    """
    gap = max(1, min(round(fps / sample_fps), count // 8))
    if count - 1 <= most * gap:
        starts = list(range(0, count - gap, gap))
    else:
        starts = [int(i) for i in np.linspace(0, count - 1 - gap, most).round()]
    numbers = sorted({i for start in starts for i in (start, start + gap)}) or [0]
    place = {number: index for index, number in enumerate(numbers)}
    pairs = [(place[start], place[start + gap]) for start in starts]
    return Pairs(numbers, pairs, fps / gap, (count - 1) / (gap * len(pairs)) if pairs else 1.0)


def motion_scores(
    frames: Sequence[Frame], pairs: Pairs | None = None, *, side: int = 128, flow: Flow | None = None
) -> MotionScores:
    """Measure the chosen frames of a clip, uint8 RGB [H, W, 3] each; a single frame is static.

    Frames are scaled to ``side`` pixels on the shorter side first: flow needs more pixels than the miniature's clips
    have, and fewer than film has. Without ``pairs`` the frames are a whole clip of 8 per second.

    Raises:
        ValueError: the clip has no frames.
    """
    if not len(frames) or frames[0].ndim != 3:
        raise ValueError("expected at least one frame [H, W, 3]")
    pairs = pairs or choose_pairs(len(frames), 8.0, most=len(frames))
    if not pairs.pairs:
        return MotionScores(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, static=1.0, dolly_zoom=0.0)
    flow = flow or dis_flow()
    scaled = [_scale(frame, side) for frame in frames]
    grey = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in scaled]
    shape = (grey[0].shape[0], grey[0].shape[1])
    points, edge = background(shape)
    contrast = {first: _contrast(grey[first]) for first, _ in pairs.pairs}
    models, flows, residual, held = [], [], [], []
    for first, second in pairs.pairs:
        field = flow(scaled[first], scaled[second])
        model = fit_camera(field, points)
        predicted = camera_flow(model, shape)
        models.append(model)
        flows.append(field)
        residual.append(float(np.percentile(_length(field - predicted), 90)))
        held.append(_held_share(contrast[first], field, predicted, edge))
    pan, zoom, rotation = (_total(values, pairs.whole) for values in _steps(models, shape))
    return MotionScores(
        camera_pan=float(np.hypot(*pan)) / side,
        camera_zoom=float(zoom),
        camera_rotation=float(rotation),
        jitter=_jitter(_steps(models, shape)[0] / side * pairs.rate),
        forward=forward_share(flows, np.mean(list(contrast.values()), axis=0)),
        subject_motion=float(np.mean(residual)) / side,
        static=_still_share(grey),
        dolly_zoom=float(np.mean(held)) if abs(zoom) >= _MIN_ZOOM else 0.0,
    )


def motion_reason(scores: MotionScores, bounds: MotionFilter) -> str:
    """Why a clip should be dropped: ``static``, ``dolly_zoom``, ``jitter``, ``zoom``, or "" to keep it."""
    return first_crossed(MOTION_BOUNDS, asdict(scores), bounds)


def camera_kind(scores: MotionScores) -> str:
    """What the camera does most, in a word. None of it is a defect by itself."""
    if abs(scores.forward) > _FORWARD:
        return "forward" if scores.forward > 0 else "backward"
    shares = {
        "pan": scores.camera_pan / _FIXED_PAN,
        "zoom": abs(scores.camera_zoom) / _FIXED_ZOOM,
        "rotation": abs(scores.camera_rotation) / _FIXED_ROTATION,
    }
    largest = max(shares, key=lambda kind: shares[kind])
    return largest if shares[largest] > 1 else "fixed"


def _scale(frame: Frame, side: int) -> Frame:
    height, width = frame.shape[:2]
    scale = side / min(height, width)
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=method), np.uint8)


def _steps(
    models: list[Model], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Displacement of the frame's centre in pixels [T, 2], log scale [T] and rotation [T] of each pair."""
    stack = np.stack(models)
    x, y = shape[1] / 2, shape[0] / 2
    pan = stack[:, :, 0] * x + stack[:, :, 1] * y + stack[:, :, 2] - np.array([x, y])
    return pan, np.log(np.hypot(stack[:, 0, 0], stack[:, 1, 0])), np.arctan2(stack[:, 1, 0], stack[:, 0, 0])


def _total(steps: NDArray[np.float64], whole: float) -> NDArray[np.float64]:
    """Sum over the clip of steps [T] or [T, 2]. Where each stands for many frames, the fifth at either end is left out:
    a subject that hides the background for a moment would count too much."""
    if whole <= 1:
        return np.asarray(steps.sum(axis=0))
    return np.asarray(whole * len(steps) * trim_mean(steps, _TRIM, axis=0))


def _jitter(velocity: NDArray[np.float64]) -> float:
    """Of velocities [T, 2]: the median, so that a cut within the clip is no shake."""
    padded = np.pad(velocity, ((_SMOOTH // 2, _SMOOTH // 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _SMOOTH, axis=0)  # [T, 2, window]
    return float(np.median(np.hypot(*(velocity - np.median(windows, axis=2)).T)))


def _contrast(grey: Gray) -> NDArray[np.float32]:
    return np.asarray(cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)), np.float32)


def _held_share(contrast: NDArray[np.float32], flow: Field, predicted: Field, edge: NDArray[np.float64]) -> float:
    """Share of the texture that stays put although the camera model moves it; weighed by contrast, because flow on a
    plain surface is a guess.

    Half of what neither stays nor follows is taken off, and three quarters of what stays at the very border. A dolly
    zoom's subject and background are two depths, and the background reaches the border; a camera that travels forwards
    passes through all depths, and what is far stays put up to the border.
    """
    expected = _length(predicted)
    telling = (edge < 0.8) & (expected > _TELLING)
    if telling.mean() < 0.05:
        return 0.0
    weight = contrast * telling
    share = _length(flow) / np.maximum(expected, 1e-6)
    held = weight[share < _HELD].sum()
    between = weight[(share >= _HELD) & (share < _FOLLOWS)].sum()
    ring = contrast * ((edge > BORDER) & (expected > _TELLING))
    at_border = ring[share < _HELD].sum() / max(ring.sum(), 1e-6)
    return float(max(0.0, (held - between / 2) / max(weight.sum(), 1e-6) - 0.75 * at_border))


def _still_share(grey: list[Gray]) -> float:
    """Compares with the first frame, not the one before: a slow drift adds up, a flicker does not."""
    first, *others = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in grey]
    changes = [np.percentile(cv2.absdiff(first, other), _STILL_SHARE) for other in others]
    return float(np.mean(np.array(changes) < _STILL_LEVEL))


def _length(field: Field) -> NDArray[np.float32]:
    return np.asarray(cv2.magnitude(field[..., 0], field[..., 1]), np.float32)
