"""Dense optical flow between frames, by OpenCV's DIS method (no weights needed)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: DIS matches patches of 8 pixels: smaller frames are enlarged to this side first.
WORKING_SIDE = 128

Flow = NDArray[np.float32]  # [H, W, 2], (dx, dy) in pixels of the frames it was measured on
Frame = NDArray[np.uint8]  # [H, W, 3]
Frames = NDArray[np.uint8]  # [T, H, W, 3]


def enlarge(video: Frames) -> Frames:
    """Frames with their shorter side at :data:`WORKING_SIDE` or more."""
    factor = int(np.ceil(WORKING_SIDE / min(video.shape[1:3])))
    if factor <= 1:
        return video
    return np.stack([cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) for frame in video])


def flow_between(first: Frame, second: Frame) -> Flow:
    """Where each pixel of ``first`` is found in ``second``, in pixels."""
    # The fast preset parts slow from resting clips as well as the medium one, in a third of the time.
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    flow = np.zeros((*gray[0].shape, 2), np.float32)
    return np.asarray(dis.calc(gray[0], gray[1], flow), np.float32)


def interpolate(first: Frame, last: Frame) -> Frame:
    """The frame half-way between two: each is warped half the way to the other, and the two are averaged."""
    height, width = first.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    halves = []
    for start, end in ((first, last), (last, first)):
        # Backward warping needs the flow at the middle frame; half the flow at the end frame stands for it.
        flow = flow_between(end, start) / 2
        halves.append(
            cv2.remap(start, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )
    return np.clip(np.mean(halves, axis=0) + 0.5, 0, 255).astype(np.uint8)


def largest_motion(first: Frame, second: Frame, share: float = 0.05) -> float:
    """Mean length of the ``share`` largest flow vectors, in pixels."""
    lengths = np.linalg.norm(flow_between(first, second), axis=-1).ravel()
    count = max(1, int(len(lengths) * share))
    return float(np.partition(lengths, -count)[-count:].mean())
