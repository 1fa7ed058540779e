"""One video of unknown origin in, clips that every later step can rely on out: that decode, have one scene, a constant
frame rate, upright square pixels of 8 bits, no sound and a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from hummingbird.data.preparation.cutting import find_cuts
from hummingbird.data.preparation.mending import mended, mended_rate, must_copy, must_encode
from hummingbird.data.preparation.phash import Thumbnail, clip_hash
from hummingbird.data.preparation.reading import Header, read_frames, read_header
from hummingbird.data.preparation.writing import ClipWriter, copy_packets
from hummingbird.data.video_io import Source, VideoInfo
from hummingbird.params import Preparation


@dataclass(frozen=True, slots=True)
class Prepared:
    """A clip of a video. ``problem``: why it is not to be used (``code: detail``), else it is empty."""

    video: bytes  # of the file: the original's unless something had to be mended
    info: VideoInfo
    start_s: float  # where in the original it begins
    transcoded: str  # what was mended, comma-separated; "" if the bytes are the original's
    phash: int  # 64 bits, see `phash.clip_hash`
    problem: str = ""


def prepare(video: Source, settings: Preparation) -> list[Prepared]:
    """The clips of a video, at least one, in their order.

    Frames are never held but for the few that a filter or the scene detector looks ahead. A video is decoded once:
    it is checked and cut while it is encoded, if its header says that it must be. Only one whose header is fine and
    which turns out to have several scenes is begun a second time.

    Raises:
        VideoError: ``code: detail``, where no clip can be had: missing, empty, corrupt, truncated, no_video_stream,
            size_changes, bad_timestamps or too_large.
    """
    header = read_header(video, settings.max_video_s)
    mend = must_encode(header, settings)
    copy = must_copy(header)
    if not mend and header.duration_s <= settings.max_clip_s:
        whole = _one_scene(video, header, settings)
        if whole is not None:
            data = copy_packets(video) if copy else video if isinstance(video, bytes) else video.read_bytes()
            info = VideoInfo(header.width, header.height, float(header.rate), len(whole))
            return [_prepared(data, info, 0, copy, whole, settings)]
    clips = list(_encoded(video, header, settings))
    mended_by = [*mend, *copy, *(["cut"] if len(clips) > 1 or not mend else [])]
    return [replace(clip, transcoded=",".join(mended_by)) for clip in clips]


def _one_scene(video: Source, header: Header, settings: Preparation) -> list[Thumbnail] | None:
    """Thumbnails of all frames of a video that has one scene; None where it has several."""
    thumbnails: list[Thumbnail] = []
    for shown in find_cuts(read_frames(video), float(header.rate), settings.scene_threshold):
        if shown.begins and thumbnails:
            return None
        thumbnails.append(shown.thumbnail)
    return thumbnails


def _encoded(video: Source, header: Header, settings: Preparation) -> Iterator[Prepared]:
    """Decode, mend, cut and encode in one go."""
    rate = mended_rate(header, settings)
    longest = max(1, int(settings.max_clip_s * rate))
    writer: ClipWriter | None = None
    thumbnails: list[Thumbnail] = []
    start = 0
    frames = mended(read_frames(video), header, settings)
    for shown in find_cuts(frames, float(rate), settings.scene_threshold):
        if writer and (shown.begins or writer.num_frames == longest):
            yield _finished(writer, start, rate, thumbnails, settings)
            start += writer.num_frames
            writer, thumbnails = None, []
        writer = writer or ClipWriter(shown.frame, rate, settings.crf)
        writer.add(shown.frame)
        thumbnails.append(shown.thumbnail)
    if writer:
        yield _finished(writer, start, rate, thumbnails, settings)


def _finished(
    writer: ClipWriter, start: int, rate: Fraction, thumbnails: Sequence[Thumbnail], settings: Preparation
) -> Prepared:
    data = writer.finish()
    info = VideoInfo(writer.width, writer.height, float(rate), writer.num_frames)
    return _prepared(data, info, float(start / rate), [], thumbnails, settings)


def _prepared(
    data: bytes,
    info: VideoInfo,
    start_s: float,
    transcoded: Sequence[str],
    thumbnails: Sequence[Thumbnail],
    settings: Preparation,
) -> Prepared:
    short = info.duration_s < settings.min_clip_s
    problem = f"too_short: {info.num_frames} frames, {info.duration_s:.2f} s" if short else ""
    return Prepared(data, info, start_s, ",".join(transcoded), clip_hash(thumbnails), problem)
