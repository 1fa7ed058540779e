from __future__ import annotations

import pickle

import numpy as np

from hummingbird.data.captions import states_facts
from hummingbird.data.sources import TRUTH_SCHEMA, WorldSource, open_source
from hummingbird.data.video_io import decode
from hummingbird.data.world import make_clip
from hummingbird.params import Download


def test_world_clips_come_with_the_truth() -> None:
    params = Download(clips=40, spoilt_share=0.5, sloppy_share=0.5)
    source = WorldSource(params)
    clips = [source.clip(index) for index in range(len(source))]
    assert source.clip(7) == clips[7]
    assert len({clip.clip_id for clip in clips}) == 40
    for index, clip in enumerate(clips):
        made = make_clip(params.world_seed, index, spoilt_share=0.5)
        assert clip.truth is not None
        assert clip.truth.keys() == TRUTH_SCHEMA.keys()
        assert clip.truth["spoilage"] == made.scene.spoilage
        assert clip.truth["clean_caption"] == made.caption
        assert clip.truth["sloppy"] != states_facts(clip.caption, made.scene)
        assert np.abs(decode(clip.video)[0].astype(int) - made.video).mean() < 5
    assert 0 < sum(bool(clip.truth and clip.truth["sloppy"]) for clip in clips) < 40


def test_dirt_in_captions_does_not_change_the_clips() -> None:
    clean, dirty = (WorldSource(Download(clips=3, sloppy_share=share)).clip(2) for share in (0.0, 1.0))
    assert clean.video == dirty.video
    assert clean.caption != dirty.caption


def test_the_world_travels_to_worker_processes() -> None:
    source = open_source(Download(clips=2))
    assert isinstance(source, WorldSource)
    assert pickle.loads(pickle.dumps(source)).clip(0) == source.clip(0)
