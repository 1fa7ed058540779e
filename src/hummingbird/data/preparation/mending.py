"""What must be mended in a video before every later step can rely on it, and the filters of FFmpeg that do it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import av.error
from av.filter import Graph

from hummingbird.data.preparation.reading import Header
from hummingbird.data.video_io import VideoError
from hummingbird.params import Preparation

_COPYABLE = {"h264", "hevc", "av1", "vp9", "mpeg4"}  # packets that may lie in an MP4 as they are
_HDR = {16: "smpte2084", 18: "arib-std-b67"}  # transfer characteristics of PQ and HLG, ISO/IEC 23091-2
_MOST_REPEATS = 100  # frames out for each packet in, where gaps between timestamps are filled
_TURNS = {0: (), 1: ("transpose=cclock",), 2: ("hflip", "vflip"), 3: ("transpose=clock",)}


def must_encode(header: Header, settings: Preparation) -> list[str]:
    """Why the pictures themselves must be made again; empty if they need not be."""
    found = {
        "rotation": header.turns != 0,
        "variable_rate": header.variable,
        "too_fast": header.rate > Fraction(settings.max_fps),
        "too_large": min(_square(header)) > settings.max_short_side,
        "anamorphic": header.pixel_aspect != 1,
        "10_bit": header.bits > 8,
        "hdr": header.transfer in _HDR,
        "codec": bool(must_copy(header)) and not (header.copyable and header.codec in _COPYABLE),
    }
    return [reason for reason, applies in found.items() if applies]


def must_copy(header: Header) -> list[str]:
    """Why the packets must at least move to another file; empty if the file can stay as it is."""
    found = {
        "audio": header.audio,
        "streams": header.streams > 1 and not header.audio,
        "container": "mp4" not in header.container.split(","),
    }
    return [reason for reason, applies in found.items() if applies]


def _square(header: Header) -> tuple[Fraction, Fraction]:
    """(width, height) of a stored frame with square pixels: the side that is too short grows."""
    aspect = header.pixel_aspect
    return header.width * max(aspect, Fraction(1)), header.height / min(aspect, Fraction(1))


def _size(header: Header, settings: Preparation) -> tuple[int, int]:
    """(width, height) of a mended frame before it is turned. Both are even: colour is stored at half size."""
    square = _square(header)
    scale = min(Fraction(1), settings.max_short_side / min(square))
    if scale == 1 and header.pixel_aspect == 1:
        return max(2, header.width // 2 * 2), max(2, header.height // 2 * 2)  # an odd row is cut off, not squeezed in
    width, height = (max(2, 2 * round(side * scale / 2)) for side in square)
    return width, height


def mended_rate(header: Header, settings: Preparation) -> Fraction:
    """Frames per second after mending: of a video that is too fast every second, third, ... frame stays."""
    return header.rate / max(1, math.ceil(header.rate / Fraction(settings.max_fps)))


def _filters(header: Header, settings: Preparation) -> Iterator[str]:
    rate = mended_rate(header, settings)
    if header.variable or rate != header.rate:
        yield f"fps={rate}"
    width, height = _size(header, settings)
    if (width, height) in _crops(header):
        yield f"crop={width}:{height}:0:0:exact=1"
    grows = width > header.width or height > header.height
    scale = f"scale={width}:{height}:flags={'bicubic' if grows else 'area'}:out_range=tv"
    if header.transfer in _HDR:
        scale += ":out_transfer=bt709:out_primaries=bt709:out_color_matrix=bt709"
    yield scale
    yield from _TURNS[header.turns]
    yield "setsar=1"
    yield f"format={'yuv420p' if header.subsampled else 'yuv444p'}"


def _crops(header: Header) -> set[tuple[int, int]]:
    """Sizes that are reached by leaving out a last row or column."""
    sizes = {(header.width - x, header.height - y) for x in (0, 1) for y in (0, 1)}
    return sizes - {(header.width, header.height)}


def _graph(header: Header, settings: Preparation, first: av.VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    aspect = header.pixel_aspect
    source = (
        f"video_size={first.width}x{first.height}:pix_fmt={first.format.name}:time_base={first.time_base}"
        f":pixel_aspect={aspect.numerator}/{aspect.denominator}"
        f":colorspace={first.colorspace}:range={first.color_range}"
    )
    nodes = [graph.add("buffer", source)]
    for text in _filters(header, settings):
        name, _, options = text.partition("=")
        nodes.append(graph.add(name, options or None))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def _finished(graph: Graph) -> Iterator[av.VideoFrame]:
    """The frames that have come out of a graph so far."""
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def mended(frames: Iterable[av.VideoFrame], header: Header, settings: Preparation) -> Iterator[av.VideoFrame]:
    """Frames as they come from the decoder, made upright, of square pixels and 8 bits, no larger than allowed and
    evenly spaced in time.

    Raises:
        VideoError: corrupt, where FFmpeg cannot convert a frame; bad_timestamps, where gaps between them would be
            filled with very many frames for the few that there are.
    """
    most = _MOST_REPEATS * header.num_frames
    for number, frame in enumerate(_filtered(frames, header, settings)):
        if number >= most:
            raise VideoError(f"bad_timestamps: more than {most} frames would be made of {header.num_frames}")
        yield frame


def _filtered(frames: Iterable[av.VideoFrame], header: Header, settings: Preparation) -> Iterator[av.VideoFrame]:
    """As :func:`mended`, without a bound on what is filled in."""
    graph: Graph | None = None
    frame_s = 1 / header.rate
    try:
        for number, frame in enumerate(frames):
            graph = graph or _graph(header, settings, frame)
            if not header.timed and frame.time_base:
                frame.pts = round(number * frame_s / frame.time_base)
            graph.vpush(frame)
            yield from _finished(graph)
        if graph:
            graph.vpush(None)
            yield from _finished(graph)
    except av.error.FFmpegError as error:
        raise VideoError(f"corrupt: {error.strerror}") from error
