"""Clips as MP4: pictures encoded, or packets copied as they are. The same frames give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import av.error

from hummingbird.data.preparation.reading import opened
from hummingbird.data.video_io import REPRODUCIBLE, Source, VideoError


class ClipWriter:
    """An H.264 MP4 in memory that grows frame by frame, at a constant rate; ``first`` is like the frames to come."""

    def __init__(self, first: av.VideoFrame, rate: Fraction, crf: int) -> None:
        self.num_frames = 0
        self.width, self.height = first.width, first.height
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=rate)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = first.width, first.height, first.format.name
        context.colorspace, context.color_range = first.colorspace, first.color_range
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        context.options = {"crf": str(crf), "preset": "veryfast", "x264-params": REPRODUCIBLE}
        context.thread_count = 1  # the bytes depend on the number of threads
        context.time_base = self._time_base = 1 / rate

    def add(self, frame: av.VideoFrame) -> None:
        frame.pts, frame.time_base = self.num_frames, self._time_base
        frame.pict_type = 0  # the decoder's choice of key frames is not ours
        self._container.mux(self._stream.encode(frame))
        self.num_frames += 1

    def finish(self) -> bytes:
        """The bytes of the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


def _in_order(packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """Packets with a time of decoding each. Matroska has none, and FFmpeg leaves it out of the first packets where
    frames are reordered: there it is counted back from the first that has one."""
    waiting: list[av.Packet] = []
    for packet in packets:
        if not packet.size:
            continue
        waiting.append(packet)
        if packet.dts is not None:
            for back, early in enumerate(reversed(waiting)):
                early.dts = packet.dts - back * max(1, packet.duration or 1)
            yield from waiting
            waiting = []


def copy_packets(video: Source) -> bytes:
    """The film of a video in an MP4 without anything else, as it was encoded.

    Raises:
        VideoError: corrupt, where the packets do not fit an MP4.
    """
    buffer = io.BytesIO()
    with opened(video) as (source, film):
        try:
            with av.open(buffer, "w", format="mp4") as target:
                stream = target.add_stream_from_template(film)
                for packet in _in_order(source.demux(film)):
                    packet.stream = stream
                    target.mux(packet)
        except av.error.FFmpegError as error:
            raise VideoError(f"corrupt: {error.strerror}") from error
    return buffer.getvalue()
