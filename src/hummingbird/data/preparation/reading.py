"""Reading a video of unknown origin: what it says of itself, and its frames one by one. All that can be wrong with it
comes out as :class:`VideoError`, ``code: detail``."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from hummingbird.data.preparation.structure import ends_early
from hummingbird.data.video_io import Source, VideoError

#: Containers of films. Others stay closed: a playlist, for one, would make FFmpeg fetch whatever addresses it names.
_FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,m4v,ivf,mxf,dv"
_MAX_PIXELS = 8192 * 4352  # of a frame: 8K passes, and nobody fills the memory with one picture
_STANDARD = [*(Fraction(n * 1000, 1001) for n in (24, 30, 60)), *(Fraction(n) for n in (24, 25, 30, 50, 60))]
_SLOWEST = Fraction(1, 1001)  # frames per second; nearer to none at all no rate is told from another
_UNEVEN = 0.1  # of the usual distance between two frames, beside the clock's own rounding
_UNEVEN_SHARE = 0.02  # of a clip's frames; one dropped frame in fifty does not make the rate variable


@dataclass(frozen=True, slots=True)
class Header:
    """What a video says of itself before more than one frame is decoded."""

    container: str  # FFmpeg's names, comma-separated
    codec: str
    streams: int
    audio: bool
    width: int  # of a frame as it is stored
    height: int
    turns: int  # quarter turns counter-clockwise that a player makes
    pixel_aspect: Fraction  # width : height of one pixel
    pixel_format: str
    bits: int  # of the deepest component
    subsampled: bool  # whether colour is stored smaller than brightness
    transfer: int  # ISO/IEC 23091-2 transfer characteristics, 2 if unknown
    rate: Fraction  # frames per second, evened out where the rate varies
    variable: bool
    timed: bool  # whether every packet says when it is shown
    copyable: bool  # whether its packets are in an order that another container takes
    num_frames: int  # packets; what really decodes may be less

    @property
    def duration_s(self) -> float:
        return float(self.num_frames / self.rate)


def _bytes_of(video: Source) -> BinaryIO:
    try:
        return io.BytesIO(video) if isinstance(video, bytes) else video.open("rb")
    except OSError as error:
        raise VideoError(f"missing: {error.strerror}") from error


@contextmanager
def opened(video: Source) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open container and its film. Every error of FFmpeg within the block becomes a :class:`VideoError`."""
    with _bytes_of(video) as file:
        if not file.seek(0, 2):
            raise VideoError("empty: no bytes")
        file.seek(0)
        try:
            with av.open(file, options={"format_whitelist": _FORMATS}) as container:
                assert isinstance(container, InputContainer)  # av types `open` by its mode
                films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
                if not films:
                    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
                    raise VideoError(f"no_video_stream: only {kinds}")
                films[0].codec_context.thread_count = 1  # many videos at once use all cores, and errors stay the same
                yield container, films[0]
        except av.error.FFmpegError as error:
            code = "truncated" if ends_early(file) else "corrupt"
            raise VideoError(f"{code}: {error.strerror}") from error
        if ends_early(file):
            raise VideoError("truncated: the file ends before its last frame")


def _standard(rate: Fraction) -> Fraction:
    """The usual frame rate nearest to ``rate``, where one is within 1 %; else one that is near, but not 0."""
    nearest = min(_STANDARD, key=lambda usual: abs(usual - rate))
    if abs(nearest - rate) <= rate / 100:
        return nearest
    return rate if rate < _SLOWEST else rate.limit_denominator(1001)


def _timing(stamps: list[int | None], stream: VideoStream) -> tuple[Fraction, bool]:
    """Frames per second, and whether they vary, from the timestamps of all packets (in units of the stream)."""
    said = stream.average_rate or stream.guessed_rate or stream.base_rate
    times = sorted(stamp for stamp in stamps if stamp is not None)
    if len(times) < len(stamps) or len(times) < 3 or stream.time_base is None:
        if not said:
            raise VideoError("corrupt: frame rate unknown")
        return Fraction(said), len(times) < len(stamps)
    gaps = np.diff(times)
    usual = float(np.median(gaps))
    uneven = np.abs(gaps - usual) > 1 + _UNEVEN * usual
    if usual > 0 and uneven.mean() <= _UNEVEN_SHARE:
        mean = 1 / (Fraction(float(gaps[~uneven].mean())) * stream.time_base)
        return (Fraction(said) if said and abs(said - mean) <= mean / 100 else _standard(mean)), False
    return _standard(1 / (Fraction(max(usual, 1.0)) * stream.time_base)), True


def _check_times(stamps: list[int | None], stream: VideoStream, longest_s: float) -> None:
    """Refuse timestamps that lie so far apart that filling what is between them would never end.

    Raises:
        VideoError: bad_timestamps.
    """
    known = [stamp for stamp in stamps if stamp is not None]
    if known and stream.time_base is not None:
        span_s = (max(known) - min(known)) * stream.time_base
        if span_s > longest_s:
            raise VideoError(f"bad_timestamps: {float(span_s):.6g} s from the first frame to the last")


def _increases(order: list[int | None]) -> bool:
    """Whether each time is later than the one before it; the first ones may be unknown."""
    known = list(itertools.dropwhile(lambda time: time is None, order))
    return all(a is not None and b is not None and a < b for a, b in itertools.pairwise(known))


def _walk(container: InputContainer, stream: VideoStream) -> tuple[list[int | None], list[int | None]]:
    """When each packet is shown and when it is decoded, in units of the stream; None where the file does not say."""
    packets = [(packet.pts, packet.dts) for packet in container.demux(stream) if packet.size]
    return [shown for shown, _ in packets], [decoded for _, decoded in packets]


def read_header(video: Source, longest_s: float) -> Header:
    """Walk through the packets of a video and decode its first frame.

    Args:
        longest_s: seconds that may lie between its first and its last frame.

    Raises:
        VideoError: missing, empty, corrupt, truncated, no_video_stream, bad_timestamps, or too_large to be decoded at
            all.
    """
    with opened(video) as (container, stream):
        if stream.width * stream.height > _MAX_PIXELS:
            raise VideoError(f"too_large: {stream.width}x{stream.height} pixels")
        stamps, order = _walk(container, stream)
        _check_times(stamps, stream, longest_s)
        rate, variable = _timing(stamps, stream)
        if rate < _SLOWEST:
            raise VideoError(f"bad_timestamps: frames {float(1 / rate):.6g} s apart")
        audio = bool(container.streams.audio)
        streams = len(container.streams)
        name, codec = container.format.name, stream.codec_context.codec.canonical_name
    first = next(read_frames(video), None)
    if first is None:
        raise VideoError("corrupt: no frame decodes")
    with opened(video) as (_, stream):
        aspect = stream.sample_aspect_ratio
    return Header(
        container=name,
        codec=codec,
        streams=streams,
        audio=audio,
        width=first.width,
        height=first.height,
        turns=round(first.rotation / 90) % 4,
        pixel_aspect=Fraction(aspect) if aspect else Fraction(1),
        pixel_format=first.format.name,
        bits=max(component.bits for component in first.format.components),
        subsampled=first.format.chroma_width(16) < 16,
        transfer=int(first.color_trc),
        rate=rate,
        variable=variable,
        timed=None not in stamps,
        copyable=_increases(order),
        num_frames=len(stamps),
    )


def read_frames(video: Source) -> Iterator[av.VideoFrame]:
    """Every frame of a video in order of presentation, decoded, as it is stored: not rotated, of any pixel format.

    Raises:
        VideoError: missing, empty, corrupt anywhere, truncated, no_video_stream, or size_changes.
    """
    shape: tuple[int, int, str] | None = None
    with opened(video) as (container, stream):
        for number, frame in zip(itertools.count(), container.decode(stream), strict=False):
            if frame.is_corrupt:
                raise VideoError(f"corrupt: frame {number} is damaged")
            now = (frame.width, frame.height, frame.format.name)
            if shape is not None and now != shape:
                before, after = ("{}x{} {}".format(*size) for size in (shape, now))
                raise VideoError(f"size_changes: from {before} to {after} at frame {number}")
            shape = now
            yield frame
