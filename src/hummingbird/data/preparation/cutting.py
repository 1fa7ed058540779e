"""Hard cuts between scenes, found while the frames pass by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from hummingbird.data.preparation.phash import Thumbnail, thumbnail

_WIDTH = 256  # pixels; PySceneDetect looks at videos at this size too
_DELAY = 2  # frames after a cut that must be seen before it is sure


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame, the little picture of it that hashes are made of, and whether a new scene begins with it."""

    frame: av.VideoFrame
    thumbnail: Thumbnail
    begins: bool


def _small(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """uint8 BGR [H, W, 3], at most 256 pixels wide or high."""
    scale = min(1.0, _WIDTH / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    small = frame.to_ndarray(format="bgr24", width=width, height=height, interpolation=Interpolation.AREA, threads=1)
    return np.asarray(small, dtype=np.uint8)


def find_cuts(frames: Iterable[av.VideoFrame], rate: float, threshold: float) -> Iterator[Shown]:
    """Frames in their order, two frames late, with the cuts that PySceneDetect's AdaptiveDetector finds.

    Its detectors take pictures one by one; so nothing is decoded a second time, as by ``detect(path)``. The change from
    frame to frame must exceed ``threshold`` times the mean change of the two frames before and after, so that fast
    motion is no cut. Short scenes are not merged into their neighbours, which would put a cut into a clip.
    """
    detector = AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=1, window_width=_DELAY)
    waiting: deque[tuple[int, av.VideoFrame, Thumbnail]] = deque()
    begins = {0}
    for number, frame in enumerate(frames):
        picture = _small(frame)
        begins.update(cut.frame_num for cut in detector.process_frame(FrameTimecode(number, fps=rate), picture))
        waiting.append((number, frame, thumbnail(picture)))
        if len(waiting) > _DELAY:
            first, shown, small = waiting.popleft()
            yield Shown(shown, small, first in begins)
    for first, shown, small in waiting:
        yield Shown(shown, small, first in begins)
