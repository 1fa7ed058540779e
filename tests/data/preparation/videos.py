"""Videos of every kind, made while a test runs."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]  # [T, H, W, 3], RGB
MakeVideo = Callable[..., bytes]


def pictures(frames: int = 24, height: int = 64, width: int = 96, seed: int = 0) -> Pictures:
    """Soft noise that drifts: one scene, no two frames alike, and another ``seed`` is another scene."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (5, 6, 3)).astype(np.float32)
    rows, columns = (np.linspace(0, n - 1.001, size) for n, size in ((5, height), (6, width + frames)))
    y, x = np.floor(rows).astype(int)[:, None], np.floor(columns).astype(int)[None]
    v, u = (rows[:, None] - y)[..., None], (columns[None] - x)[..., None]
    last = coarse.shape[0] - 1, coarse.shape[1] - 1
    below, right = np.minimum(y + 1, last[0]), np.minimum(x + 1, last[1])
    top = coarse[y, x] * (1 - u) + coarse[y, right] * u
    bottom = coarse[below, x] * (1 - u) + coarse[below, right] * u
    wide = (top * (1 - v) + bottom * v).astype(np.uint8)
    return np.stack([wide[:, start : start + width] for start in range(frames)])


def turned(video: bytes, clockwise: int) -> bytes:
    """An MP4 whose players turn it by so many quarters: the matrix in its track header says so."""
    a, b = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[clockwise]
    matrix = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    place = video.index(b"tkhd") + 4 + 40
    return video[:place] + matrix + video[place + 36 :]


def _add_audio(container: av.container.OutputContainer) -> Callable[[], None]:
    stream = container.add_stream("aac", rate=8000)

    def write() -> None:
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 1024 * number, Fraction(1, 8000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    return write


def make_video(
    frames: Pictures,
    fps: float = 24,
    *,
    container: str = "mp4",
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[float] | None = None,
    pixel_aspect: Fraction | None = None,
    transfer: int | None = None,
    audio: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """``times``: seconds at which each frame is shown, instead of a constant rate."""
    buffer = io.BytesIO()
    clock = Fraction(1, 1000) if times is not None else 1 / Fraction(fps)
    with av.open(buffer, "w", format=container) as target:
        stream = target.add_stream(codec, rate=Fraction(fps))
        context = stream.codec_context
        context.height, context.width, context.pix_fmt = *frames.shape[1:3], pixel_format
        context.options = {"crf": "10", "preset": "ultrafast"} if codec == "libx264" else {}
        context.options = {**context.options, **(options or {})}
        context.thread_count = 1
        context.time_base = clock
        if pixel_aspect:
            context.sample_aspect_ratio = pixel_aspect
        if transfer:
            context.color_trc, context.color_primaries, context.colorspace = transfer, 9, 9
        write_audio = _add_audio(target) if audio else lambda: None
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
            frame.time_base = clock
            frame.pts = number if times is None else round(times[number] * 1000)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
        write_audio()
    return buffer.getvalue()
