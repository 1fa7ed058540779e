"""What moves in a clip, by dense optical flow and a model of the camera. Needs no weights.

Between neighbouring frames the flow near the frame's border is explained by one similarity (pan, zoom, rotation),
fitted robustly because subjects reach the border too. What it does not explain is subject motion. Two defects follow:

* *static*: no frame differs anywhere from the first; a photograph sold as a video.
* *dolly zoom*: the background scales and the subject does not. A normal zoom scales both, and a camera that travels
  forward does not move the background by a similarity at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Video = NDArray[np.uint8]  # [T, H, W, 3], RGB
Field = NDArray[np.float32]  # [H, W, 2], displacement in pixels

_BORDER = 0.62  # background points lie outside this share of the half-frame
_STEP = 4  # pixels between background points
_HELD = 0.35  # a point is held when it moves less than this share of what the camera model predicts
_TELLING = 1.0  # pixels by which the camera must move a point before holding still means something
_STILL_LEVEL = 3.0  # grey levels (of 255), after denoising, below which two frames are the same picture
_STILL_SHARE = 99  # ... in this percentile of the pixels: a small moving thing makes the clip alive
_MIN_ZOOM = 0.3  # log scale over the clip: a factor of 1.35


@dataclass(frozen=True, slots=True)
class MotionScores:
    """Motion of a whole clip. Lengths are shares of the frame's shorter side."""

    camera_pan: float  # length of the camera's total displacement
    camera_zoom: float  # total log scale: positive when the picture grows
    camera_rotation: float  # total, in radians
    subject_motion: float  # mean per frame of the fastest tenth of the flow that the camera does not explain
    static: float  # share of the frames that are the same picture as the first
    dolly_zoom: float  # share of the telling texture that stays put while the background zooms


def sample_frames(video: Video, fps: float, *, target_fps: float = 10.0, most: int = 24) -> Video:
    """Thin a clip to about ``target_fps`` and at most ``most`` samples from its middle; a short one is thinned less."""
    stride = max(1, min(round(fps / target_fps), len(video) // 8))
    start = max(0, (len(video) - stride * most) // 2)
    return video[start : start + stride * most : stride]


def motion_scores(video: Video, *, side: int = 128) -> MotionScores:
    """Measure a clip, uint8 RGB [T, H, W, 3]; a single frame is static.

    Frames are scaled to ``side`` pixels on the shorter side first: flow needs more pixels than the miniature's clips
    have, and fewer than film has.

    Raises:
        ValueError: the clip has no frames.
    """
    if video.ndim != 4 or not len(video):
        raise ValueError(f"expected at least one frame [T, H, W, 3], got {video.shape}")
    if len(video) == 1:
        return MotionScores(0.0, 0.0, 0.0, 0.0, static=1.0, dolly_zoom=0.0)
    frames = [_grey(frame, side) for frame in video]
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    points, edge = _geometry(frames[0].shape)
    models, residual, held = [], [], []
    for first, second in pairwise(frames):
        flow = estimator.calc(first, second, None)  # type: ignore[call-overload]  # None: allocate it, which the stubs forget
        model = _fit_camera(flow, points)
        predicted = _camera_flow(model, flow.shape[:2])
        models.append(model)
        residual.append(float(np.percentile(_length(flow - predicted), 90)))
        held.append(_held_share(first, flow, predicted, edge))
    centre = np.array([frames[0].shape[1] / 2, frames[0].shape[0] / 2])
    pan = sum((model[:, :2] @ centre + model[:, 2] - centre for model in models), start=np.zeros(2))
    zoom = float(sum(np.log(np.hypot(model[0, 0], model[1, 0])) for model in models))
    return MotionScores(
        camera_pan=float(np.hypot(*pan)) / side,
        camera_zoom=zoom,
        camera_rotation=float(sum(np.arctan2(model[1, 0], model[0, 0]) for model in models)),
        subject_motion=float(np.mean(residual)) / side,
        static=_still_share(frames),
        dolly_zoom=float(np.median(held)) if abs(zoom) >= _MIN_ZOOM else 0.0,
    )


def motion_reason(scores: MotionScores, *, max_static: float, max_dolly_zoom: float) -> str:
    """Why a clip should be dropped: ``static``, ``dolly_zoom``, or "" to keep it."""
    if scores.static > max_static:
        return "static"
    return "dolly_zoom" if scores.dolly_zoom > max_dolly_zoom else ""


def _grey(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    scale = side / min(height, width)
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=method), np.uint8)


def _geometry(shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Background points [N, 2] as (row, column), and each pixel's distance from the centre in half-frames [H, W]."""
    height, width = shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    edge = np.maximum(np.abs((rows + 0.5) / height * 2 - 1), np.abs((columns + 0.5) / width * 2 - 1))
    lattice = (rows % _STEP == _STEP // 2) & (columns % _STEP == _STEP // 2)
    return np.argwhere(lattice & (edge > _BORDER)), edge


def _fit_camera(flow: Field, points: NDArray[np.intp]) -> NDArray[np.float64]:
    """The similarity [2, 3] that takes most background points where the flow takes them."""
    source = points[:, ::-1].astype(np.float32)
    target = source + flow[points[:, 0], points[:, 1]]
    model, _ = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=1.5, maxIters=500, confidence=0.99
    )
    return np.eye(2, 3) if model is None else np.asarray(model, np.float64)


def _camera_flow(model: NDArray[np.float64], shape: tuple[int, ...]) -> Field:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    (a, b, c), (d, e, f) = model.astype(np.float32)
    return np.stack([a * columns + b * rows + c - columns, d * columns + e * rows + f - rows], axis=-1)


def _held_share(frame: NDArray[np.uint8], flow: Field, predicted: Field, edge: NDArray[np.float64]) -> float:
    """Share of the texture that stays put although the camera model moves it; weighed by contrast, because flow on a
    plain surface is a guess."""
    expected = _length(predicted)
    telling = (edge < 0.8) & (expected > _TELLING)
    if telling.mean() < 0.05:
        return 0.0
    contrast = np.hypot(cv2.Sobel(frame, cv2.CV_32F, 1, 0), cv2.Sobel(frame, cv2.CV_32F, 0, 1)) * telling
    held = contrast[_length(flow) < _HELD * expected].sum()
    return float(held / max(contrast.sum(), 1e-6))


def _still_share(frames: list[NDArray[np.uint8]]) -> float:
    """Compares with the first frame, not the one before: a slow drift adds up, a flicker does not."""
    first, *others = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in frames]
    changes = [np.percentile(cv2.absdiff(first, other), _STILL_SHARE) for other in others]
    return float(np.mean(np.array(changes) < _STILL_LEVEL))


def _length(field: Field) -> NDArray[np.float32]:
    return np.hypot(field[..., 0], field[..., 1])
