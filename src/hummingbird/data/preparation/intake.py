"""From an item of a source to the clips that go into the shards and into the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hummingbird.data.preparation.prepare import prepare
from hummingbird.data.sources import ClipSource, RawClip
from hummingbird.data.video_io import VideoError, VideoInfo
from hummingbird.params import Preparation


@dataclass(frozen=True, slots=True)
class ReadyClip:
    """A clip for a row of the table and, where it has a video, for a shard. ``problem`` as in
    :class:`~hummingbird.data.sources.RawClip`."""

    clip_id: str
    caption: str
    source: str
    video: bytes = b""
    info: VideoInfo | None = None
    problem: str = ""
    start_s: float = 0.0
    transcoded: str = ""
    phash: str | None = None
    truth: dict[str, Any] | None = None


def take_in(source: ClipSource, settings: Preparation, index: int) -> list[ReadyClip]:
    """The clips of one item, at least one; what goes wrong with it becomes a clip's ``problem``."""
    return ready_clips(source.clip(index), settings)


def ready_clips(raw: RawClip, settings: Preparation) -> list[ReadyClip]:
    """The clips of an item that was fetched. A clip of the world comes as it should be and stays as it is.

    The parts of a video that was cut are called ID@1, ID@2, ..., with a sign that no source's ids have.
    """
    if raw.path is None:
        return [
            ReadyClip(
                raw.clip_id, raw.caption, raw.source, raw.video, raw.info, problem=raw.problem, truth=raw.truth
            )
        ]  # fmt: skip
    try:
        clips = prepare(raw.path, settings)
    except VideoError as error:
        return [ReadyClip(raw.clip_id, raw.caption, raw.source, problem=str(error))]
    ids = [f"{raw.clip_id}@{number}" if len(clips) > 1 else raw.clip_id for number in range(1, len(clips) + 1)]
    return [
        ReadyClip(
            clip_id=clip_id,
            caption=raw.caption,
            source=raw.source,
            video=clip.video,
            info=clip.info,
            problem=clip.problem or raw.problem,
            start_s=clip.start_s,
            transcoded=clip.transcoded,
            phash=f"{clip.phash:016x}",
        )
        for clip_id, clip in zip(ids, clips, strict=True)
    ]
