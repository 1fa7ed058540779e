"""Reading and writing video with PyAV (FFmpeg's libraries).

Videos are uint8 RGB arrays [T, H, W, 3]. Decoding honours the rotation that phones write as metadata, and fails with
:class:`VideoError`, which says what is wrong with the file; FFmpeg's many ways to fail never reach the caller.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from hummingbird.files import replacing

Video = NDArray[np.uint8]  # [T, H, W, 3], RGB
Source = bytes | Path
#: With its look-ahead on, x264 gives other bytes now and then for pictures as small as the miniature's.
REPRODUCIBLE = "rc-lookahead=0:sync-lookahead=0:mbtree=0:weightp=0:bframes=0:scenecut=0"


class VideoError(Exception):
    """A video cannot be used; the message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Size as shown (after rotation) in pixels, frames per second, and the number of frames that really decode."""

    width: int
    height: int
    fps: float
    num_frames: int

    @property
    def duration_s(self) -> float:
        return self.num_frames / self.fps


def _rate(stream: av.VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not rate:
        raise VideoError("frame rate unknown")
    return float(rate)


def raw_frames(source: Source) -> Iterator[tuple[av.VideoFrame, float]]:
    """Every decoded frame in order of presentation, with the frame rate of the stream."""
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise VideoError("empty file")
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
            assert isinstance(container, av.container.InputContainer)  # av types `open` by its mode
            if not container.streams.video:
                raise VideoError("no video stream")
            stream = container.streams.video[0]
            rate = _rate(stream)
            for frame in container.decode(stream):
                yield frame, rate
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"cannot be decoded ({getattr(error, 'strerror', None) or error})") from error


def _cover(width: int, height: int, target: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the smallest picture of the same proportions that covers ``target`` = (height, width)."""
    scale = max(target[0] / height, target[1] / width)
    return max(target[1], round(width * scale)), max(target[0], round(height * scale))


def to_array(frame: av.VideoFrame, cover: tuple[int, int] | None, reformatter: VideoReformatter | None = None) -> Video:
    """A decoded frame upright, uint8 RGB [H, W, 3], scaled and cropped as in :func:`decode`.

    ``reformatter``: keeps what it costs to prepare from one frame of a video to the next, for one ``cover``.
    """
    turns = round(frame.rotation / 90) % 4  # FFmpeg counts counter-clockwise, as numpy does
    width, height = frame.width, frame.height
    if cover:
        target = cover[::-1] if turns % 2 else cover
        width, height = _cover(width, height, target)
    reformatter = reformatter or VideoReformatter()
    scaled = reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.AREA)
    image = np.rot90(scaled.to_ndarray(), turns)
    if cover:
        top, left = (image.shape[0] - cover[0]) // 2, (image.shape[1] - cover[1]) // 2
        image = image[top : top + cover[0], left : left + cover[1]]
    return np.ascontiguousarray(image)


def decode(
    source: Source, max_frames: int | None = None, *, cover: tuple[int, int] | None = None, min_frames: int = 1
) -> tuple[Video, float]:
    """Decode a video: uint8 RGB [T, H, W, 3] and its frames per second.

    Args:
        source: the bytes of the file, or its path.
        max_frames: stop after so many frames.
        cover: (height, width) to which each frame is scaled (keeping its proportions) and centre-cropped while
            decoding, so that a long 4K clip never lies in memory at full size.
        min_frames: fewer frames are an error.

    Raises:
        VideoError: empty, corrupt, without video stream, or too few frames.
    """
    images: list[Video] = []
    fps = 0.0
    reformatter = VideoReformatter()
    frames = raw_frames(source)
    for frame, rate in frames:
        fps = rate
        image = to_array(frame, cover, reformatter)
        if images and image.shape != images[0].shape:
            raise VideoError("frame size changes within the clip")
        images.append(image)
        if max_frames is not None and len(images) >= max_frames:
            break
    if len(images) < max(1, min_frames):
        raise VideoError(f"only {len(images)} frames, at least {max(1, min_frames)} needed")
    return np.stack(images), fps


def probe(source: Source) -> VideoInfo:
    """Decode a video to its end without keeping it, and say what it is.

    Raises:
        VideoError: empty, corrupt anywhere, or without video stream.
    """
    count, width, height, fps = 0, 0, 0, 0.0
    for frame, rate in raw_frames(source):
        if count == 0:
            fps = rate
            turned = round(frame.rotation / 90) % 2 == 1
            width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        count += 1
    if count == 0:
        raise VideoError("no frames")
    return VideoInfo(width=width, height=height, fps=fps, num_frames=count)


def _encode(target: io.BytesIO, frames: Video, fps: float, crf: int, pixel_format: str) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"expected uint8 [T, H, W, 3] with at least one frame, got {frames.dtype} {frames.shape}")
    if pixel_format == "yuv420p":  # colour is stored at half size: both sides must be even
        frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.options = {"crf": str(crf), "preset": "veryfast", "x264-params": REPRODUCIBLE}
        stream.codec_context.thread_count = 1  # the bytes depend on the number of threads
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def encode_mp4(frames: Video, fps: float, crf: int = 10, pixel_format: str = "yuv444p") -> bytes:
    """Bytes of an H.264 MP4; the same frames always give the same bytes.

    ``crf``: 0 (lossless) to 51. ``pixel_format``: ``yuv444p`` keeps the colours of tiny clips, but browsers play only
    ``yuv420p``.
    """
    buffer = io.BytesIO()
    _encode(buffer, frames, fps, crf, pixel_format)
    return buffer.getvalue()


def write_mp4(path: Path, frames: Video, fps: float, crf: int = 12, pixel_format: str = "yuv420p") -> None:
    """Write an H.264 MP4 that browsers play (``yuv420p``; an odd side is padded by one pixel), whole or not at all.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    with replacing(path) as part:
        part.write_bytes(encode_mp4(frames, fps, crf, pixel_format))
