"""From a fetched file to the clips that go into shards."""

from __future__ import annotations

import functools

from hummingbird.data import video_io
from hummingbird.data.fetching import Fetched
from hummingbird.data.sources import RawClip


def clips_of(fetched: Fetched) -> list[RawClip]:
    """The clips of one item: one at least, which says what is wrong if there is nothing to be used."""
    item = fetched.item
    raw = functools.partial(
        RawClip, clip_id=item.clip_id, caption=item.caption, source=item.source, source_id=item.source_id
    )
    if fetched.path is None:
        return [raw(problem=fetched.problem)]
    try:
        video = fetched.path.read_bytes()
        info = video_io.probe(video)
    except OSError as error:
        return [raw(problem=f"missing: {error.strerror}")]
    except video_io.VideoError as error:
        return [raw(problem=f"unreadable: {error}")]
    return [raw(video=video, info=info, problem="" if item.caption else "no_caption")]
