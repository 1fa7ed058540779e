"""From a fetched file to the clips that go into shards."""

from __future__ import annotations

import functools

from hummingbird.data.fetching import Fetched
from hummingbird.data.preparation import prepare
from hummingbird.data.sources import RawClip
from hummingbird.data.video_io import VideoError
from hummingbird.errors import UserError
from hummingbird.params import Preparation


def clips_of(fetched: Fetched, settings: Preparation) -> list[RawClip]:
    """The clips of one item: one at least, which says what is wrong if there is nothing to be used.

    Nothing in a video ends the run: what FFmpeg or the code stumbles over is the video's problem.

    The parts of a video that was cut are called ID@1, ID@2, ..., with a sign that no source's ids have.
    """
    item = fetched.item
    raw = functools.partial(RawClip, caption=item.caption, source=item.source, source_id=item.source_id)
    if fetched.path is None:
        return [raw(clip_id=item.clip_id, problem=fetched.problem)]
    try:
        clips = prepare(fetched.path, settings)
    except VideoError as error:
        return [raw(clip_id=item.clip_id, problem=str(error))]
    except (MemoryError, UserError):
        raise
    except Exception as error:  # whatever FFmpeg makes of one odd video, it must not end the run
        why = " ".join(str(error).split())[:300]
        return [raw(clip_id=item.clip_id, problem=f"corrupt: {type(error).__name__}: {why}")]
    ids = [f"{item.clip_id}@{number}" for number in range(1, len(clips) + 1)] if len(clips) > 1 else [item.clip_id]
    return [
        raw(
            clip_id=clip_id,
            video=clip.video,
            info=clip.info,
            problem=clip.problem or ("" if item.caption else "no_caption"),
            start_s=clip.start_s,
            transcoded=clip.transcoded,
            phash=f"{clip.phash:016x}",
        )
        for clip_id, clip in zip(ids, clips, strict=True)
    ]


def crashing_clip(fetched: Fetched) -> list[RawClip]:
    """What stands for the clips of an item whose video kills the process that decodes it."""
    item = fetched.item
    problem = "corrupt: it crashes the decoder, or takes more memory than there is"
    return [RawClip(item.clip_id, item.caption, item.source, problem=problem, source_id=item.source_id)]
