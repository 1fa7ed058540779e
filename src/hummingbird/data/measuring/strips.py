"""A few frames of a clip side by side as one small JPEG: contact sheets are drawn from these, without decoding."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # [H, W, 3], RGB
Video = NDArray[np.uint8]  # [T, H, W, 3]


def strip_size(height: int, width: int, most: int) -> tuple[int, int]:
    """(height, width) of a frame of a strip: ``most`` pixels high, or as it is where that is less."""
    scale = min(1.0, most / height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def encode_strip(frames: Sequence[Frame], quality: int) -> bytes:
    """JPEG of frames of one size, with colours at full resolution."""
    row = np.concatenate(list(frames), axis=1)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(row, cv2.COLOR_RGB2BGR), options)[1])


def decode_strip(data: bytes, frames: int) -> Video:
    """The frames of a strip, uint8 RGB [T, H, W, 3].

    Raises:
        ValueError: the data is no picture, or none of so many frames.
    """
    row = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if row is None or row.shape[1] % frames:
        raise ValueError(f"no strip of {frames} frames")
    picture = np.asarray(cv2.cvtColor(row, cv2.COLOR_BGR2RGB), np.uint8)
    return np.stack(np.split(picture, frames, axis=1))
