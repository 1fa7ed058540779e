"""One pass over a video that makes, of each frame, only the pictures that somebody wants."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from hummingbird.data.video_io import Video, VideoError, raw_frames, to_array

Size = tuple[int, int]  # (height, width), in pixels


class Frames:
    """The frames of one video, decoded once, and made into pictures as they pass."""

    def __init__(self, video: bytes) -> None:
        self._video = video
        self._scalers: dict[Size, VideoReformatter] = {}
        self._grey = VideoReformatter()
        self._frame: av.VideoFrame | None = None
        self._pictures: dict[Size, Video] = {}

    def wanted(self, numbers: Collection[int]) -> Iterator[int]:
        """Go through the video as far as the last of ``numbers``, and stop at each of them.

        Raises:
            VideoError: the video cannot be decoded, or ends before the last of them.
        """
        left = set(numbers)
        for number, (frame, _) in enumerate(raw_frames(self._video)):
            if number in left:
                self._frame, self._pictures = frame, {}
                yield number
                left.remove(number)
            if not left:
                return
        if left:
            raise VideoError(f"ends before frame {min(left)}")

    def picture(self, cover: Size) -> Video:
        """The frame at which :meth:`wanted` stopped: upright, RGB [H, W, 3], scaled and cropped to ``cover``."""
        if cover not in self._pictures:
            scaler = self._scalers.setdefault(cover, VideoReformatter())
            self._pictures[cover] = to_array(self._current, cover, scaler)
        return self._pictures[cover]

    def luma(self) -> NDArray[np.uint8]:
        """Its luma at full size [H, W], as it was stored (not turned upright)."""
        return np.asarray(self._grey.reformat(self._current, format="gray").to_ndarray(), np.uint8)

    @property
    def _current(self) -> av.VideoFrame:
        if self._frame is None:
            raise ValueError("no frame yet: iterate over wanted()")
        return self._frame
