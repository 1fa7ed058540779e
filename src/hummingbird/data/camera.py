"""The camera's motion, from dense flow: a similarity (pan, zoom, rotation) between two frames, and a motion forwards
over the whole clip, which no similarity explains."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hummingbird.data.flow import Field

Model = NDArray[np.float64]  # [2, 3], where a point (x, y, 1) is found in the next frame
Points = NDArray[np.intp]  # [N, 2] as (row, column)

BORDER = 0.62  # background points lie outside this share of the half-frame
_STEP = 4  # pixels between background points, and of the lattice on which motion forwards is looked for
_LEAST = 0.15  # pixels; shorter flow has no direction
_TEXTURED = 20.0  # of the grey levels' gradient; flow on a plain surface is a guess
_ALONG = 0.9  # cosine to the ray from the focus of expansion, from which on a point moves along it
_UNLIKE = 1.5  # factor between rates of expansion that a zoom cannot explain
_PARALLEL = 0.9  # mean direction from which on everything moves one way: a pan, or one object
_REACHES = 0.2  # share of the border's texture that moves, below which something grows in the middle
_MARGIN = 0.1  # of the frame, by which the focus may lie outside


@lru_cache(maxsize=64)
def background(shape: tuple[int, int]) -> tuple[Points, NDArray[np.float64]]:
    """Background points, near the border, and each pixel's distance from the centre in half-frames [H, W]."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    edge = _edge(shape)
    lattice = (rows % _STEP == _STEP // 2) & (columns % _STEP == _STEP // 2)
    return np.argwhere(lattice & (edge > BORDER)), edge


def fit_camera(flow: Field, points: Points) -> Model:
    """The similarity that takes most background points where the flow takes them: RANSAC, because subjects reach the
    border too."""
    source = points[:, ::-1].astype(np.float32)
    target = source + flow[points[:, 0], points[:, 1]]
    model, _ = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=1.5, maxIters=500, confidence=0.99
    )
    return np.eye(2, 3) if model is None else np.asarray(model, np.float64)


def camera_flow(model: Model, shape: tuple[int, int]) -> Field:
    """The flow of a scene that moves as ``model`` says."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    columns = np.arange(shape[1], dtype=np.float32)[None]
    (a, b, c), (d, e, f) = model.astype(np.float32)
    return np.stack([(a - 1) * columns + b * rows + c, d * columns + (e - 1) * rows + f], axis=-1)


def forward_share(flows: list[Field], contrast: NDArray[np.float32]) -> float:
    """Motion forwards (above 0) or backwards, -1..1: the share of the moving texture that runs along rays from one
    point of the picture at rates that differ, as near and far things do. A zoom has one rate.

    Args:
        flows: of pairs of frames over the whole clip. Their median field keeps what lasts and drops shake.
        contrast: mean gradient of the frames, grey levels [H, W].
    """
    lattice = np.s_[_STEP // 2 :: _STEP, _STEP // 2 :: _STEP]
    field = np.median([flow[lattice].astype(np.float64) for flow in flows], axis=0)
    weight = contrast[lattice].astype(np.float64)
    length = np.hypot(field[..., 0], field[..., 1])
    chosen = (length > _LEAST) & (weight > _TEXTURED)
    if chosen.sum() < 20:
        return 0.0
    y, x = (axis[chosen].astype(np.float64) for axis in np.indices(length.shape))
    direction = field[chosen] / length[chosen][:, None]
    weights = weight[chosen] / weight[chosen].sum()
    if np.hypot(*(weights[:, None] * direction).sum(axis=0)) > _PARALLEL:
        return 0.0
    focus = _focus(x, y, direction)
    size = np.array(length.shape[::-1])
    if np.any(focus < -_MARGIN * size) or np.any(focus > (1 + _MARGIN) * size):
        return 0.0
    ray = np.stack([x, y], axis=1) - focus
    distance = np.hypot(ray[:, 0], ray[:, 1]) + 1e-3
    along = (direction * ray).sum(axis=1) / distance
    rate = np.log(length[chosen] / distance)
    on_ray = np.abs(along) > _ALONG
    if not on_ray.any() or _border_share(chosen, on_ray, weight) < _REACHES:
        return 0.0
    unlike = np.abs(rate - np.median(rate[on_ray])) > np.log(_UNLIKE)
    return float((weights * np.sign(along) * (on_ray & unlike)).sum())


def _border_share(chosen: NDArray[np.bool_], on_ray: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Share of the texture near the border that moves along rays: a thing that grows in the middle is no travelling
    camera."""
    moving = np.zeros(chosen.shape, bool)
    moving[chosen] = on_ray
    ring = _edge(chosen.shape) > BORDER
    textured = (weight * (ring & (weight > _TEXTURED))).sum()
    return float((weight * (ring & moving)).sum() / textured) if textured else 0.0


def _edge(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Each pixel's distance from the centre in half-frames [H, W]."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    across = np.abs((columns + 0.5) / shape[1] * 2 - 1)
    return np.asarray(np.maximum(np.abs((rows + 0.5) / shape[0] * 2 - 1), across))


def _focus(x: NDArray[np.float64], y: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point (x, y) that most motion points away from, or to: least squares of the distances between it and the
    lines of motion, reweighted so that strays count little.

    Written out, because a library's sums depend on where in memory an array happens to lie.
    """
    a, b = direction[:, 1], -direction[:, 0]  # the lines' normals
    offsets = a * x + b * y
    weights = np.ones(len(offsets))
    for _ in range(20):
        aa, ab, bb = ((weights * product).sum() for product in (a * a, a * b, b * b))
        ac, bc = (weights * a * offsets).sum(), (weights * b * offsets).sum()
        determinant = max(aa * bb - ab * ab, 1e-9)
        focus_x, focus_y = (bb * ac - ab * bc) / determinant, (aa * bc - ab * ac) / determinant
        weights = 1 / (1 + ((a * focus_x + b * focus_y - offsets) / 1.5) ** 2)  # 1.5 steps of the lattice
    return np.array([focus_x, focus_y])
