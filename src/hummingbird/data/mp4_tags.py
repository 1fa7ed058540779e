"""What made a video, kept in its own file: a JSON object in the ``comment`` of an MP4, which players show."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import av.error

from hummingbird.data.video_io import Video, VideoError, encode_mp4
from hummingbird.files import replacing

TAG = "comment"


def write_tagged_mp4(
    path: Path, frames: Video, fps: float, facts: Mapping[str, Any], crf: int = 12, pixel_format: str = "yuv420p"
) -> None:
    """As :func:`~hummingbird.data.video_io.write_mp4`, with ``facts`` in the file. Equal frames and facts give equal
    bytes.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    with replacing(path) as part:
        part.write_bytes(tagged(encode_mp4(frames, fps, crf, pixel_format), facts))


def tagged(mp4: bytes, facts: Mapping[str, Any]) -> bytes:
    """The same video, packet for packet, with ``facts`` in its comment."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(mp4)) as source, av.open(buffer, "w", format="mp4") as target:
        assert isinstance(source, av.container.InputContainer)  # av types `open` by its mode
        target.metadata[TAG] = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
        video = source.streams.video[0]
        copied = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:  # the last one only flushes
                packet.stream = copied
                target.mux(packet)
    return buffer.getvalue()


def read_facts(path: Path) -> dict[str, Any]:
    """What :func:`write_tagged_mp4` was given; empty for a video that carries nothing of ours.

    Raises:
        VideoError: the file is no video.
    """
    try:
        with av.open(str(path)) as container:
            found = json.loads(container.metadata.get(TAG, "null"))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except ValueError:  # a comment of someone else's
        return {}
    return found if isinstance(found, dict) else {}
