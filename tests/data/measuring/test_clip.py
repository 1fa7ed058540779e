"""One decoding gives what decoding for each purpose gave, and nothing is decoded that nobody wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hummingbird.data import video_io, world
from hummingbird.data.flow import dis_flow, open_flow
from hummingbird.data.measuring import frames as frames_module
from hummingbird.data.measuring.clip import MOTION, QUALITY, STRIP, Look, clip_seed, look_at
from hummingbird.data.measuring.frames import Frames
from hummingbird.data.measuring.strips import decode_strip, encode_strip
from hummingbird.data.motion import motion_scores
from hummingbird.errors import UserError
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover, ViewSizes
from hummingbird.models.dover.views import aesthetic_view, technical_view
from hummingbird.params import Measure

VIEWS = ViewSizes(**CONFIG["views"])


def _row(video: np.ndarray, clip_id: str = "one", fps: float = 8.0) -> dict[str, Any]:
    return {
        "clip_id": clip_id,
        "num_frames": len(video),
        "fps": fps,
        "height": video.shape[1],
        "width": video.shape[2],
    }


def _look(video: np.ndarray, settings: Measure | None = None, views: ViewSizes = VIEWS, **options: Any) -> Look:
    data = video_io.encode_mp4(video, 8.0)
    return look_at(data, _row(video), settings or Measure(), views=views, flow=dis_flow(), seed=1, **options)


def test_one_decoding_gives_what_decoding_the_whole_clip_gives() -> None:
    video = world.make_clip(1, 3).video
    look = _look(video)
    decoded, _ = video_io.decode(video_io.encode_mp4(video, 8.0))
    assert look.views is not None
    assert torch.equal(look.views[0], aesthetic_view(decoded, VIEWS))
    assert torch.equal(look.views[1], technical_view(decoded, VIEWS, clip_seed("one", 1)))
    assert look.motion == motion_scores(list(decoded))
    assert decode_strip(look.strip, 4).shape == (4, 32, 32, 3)
    assert np.abs(decode_strip(look.strip, 4)[0].astype(int) - decoded[0]).mean() < 8


def test_dover_sees_published_views_where_no_size_is_set() -> None:
    video = np.random.default_rng(0).integers(0, 256, (10, 80, 120, 3)).astype(np.uint8)
    sizes = ViewSizes(aesthetic_frames=4, aesthetic_size=24, technical_clips=2, technical_frames=3, grid=3, fragment=8)
    torch.manual_seed(0)
    model = Dover(**{**CONFIG, "views": {}}).eval()
    model.view_sizes = sizes
    look = _look(video, Measure(dover_size=None), sizes)
    decoded, _ = video_io.decode(video_io.encode_mp4(video, 8.0))
    assert look.views is not None
    assert torch.equal(look.views[1], technical_view(decoded, sizes, clip_seed("one", 1)))


def test_fragments_follow_from_the_clip_and_the_seed() -> None:
    assert clip_seed("one", 1) == clip_seed("one", 1)
    assert len({clip_seed("one", 1), clip_seed("two", 1), clip_seed("one", 2)}) == 3


def test_a_condemned_clip_gets_neither_dover_nor_flow_but_a_strip() -> None:
    look = _look(np.full((8, 32, 32, 3), 10, np.uint8))
    assert look.signals is not None and look.signals.black == 1.0
    assert look.views is None and look.motion is None and look.strip


@pytest.mark.parametrize("part", [QUALITY, MOTION, STRIP])
def test_a_part_alone_is_the_same_as_within_the_whole(part: str) -> None:
    video = world.make_clip(1, 4).video
    whole, alone = _look(video), _look(video, parts=frozenset({part}))
    assert (alone.signals == whole.signals) == (part == QUALITY)
    assert (alone.motion == whole.motion) == (part == MOTION)
    assert (alone.strip == whole.strip) == (part == STRIP)


@pytest.mark.parametrize("cut", [600, 0], ids=["truncated", "empty"])
def test_a_clip_that_does_not_decode_has_a_problem(cut: int) -> None:
    video = world.make_clip(1, 5).video
    data = video_io.encode_mp4(video, 8.0)[:cut]
    look = look_at(data, _row(video), Measure(), views=VIEWS, flow=dis_flow(), seed=1)
    assert look.problem.startswith("unreadable: ") and look.signals is None and not look.strip


def test_a_clip_that_ends_before_its_table_says_has_a_problem() -> None:
    video = world.make_clip(1, 5).video
    row = {**_row(video), "num_frames": 9}
    look = look_at(video_io.encode_mp4(video, 8.0), row, Measure(), views=VIEWS, flow=dis_flow(), seed=1)
    assert look.problem == "unreadable: ends before frame 8"


def test_only_wanted_frames_become_pictures_and_decoding_stops_at_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    decoded = video_io.raw_frames

    def counted(source: bytes) -> Any:
        for number, item in enumerate(decoded(source)):
            seen.append(number)
            yield item

    monkeypatch.setattr(frames_module, "raw_frames", counted)
    frames = Frames(video_io.encode_mp4(world.make_clip(1, 6).video, 8.0))
    assert list(frames.wanted([1, 4])) == [1, 4]
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="no frame yet"):
        Frames(b"").picture((8, 8))


def test_a_rotated_clip_is_measured_upright(project: Path) -> None:
    path = project.parent / "shared/clips/rot_90.mov"
    if not path.is_file():
        pytest.skip("the real clips are not part of the repository")
    info = video_io.probe(path)
    row = {"clip_id": "turned", "num_frames": 3, "fps": info.fps, "height": info.height, "width": info.width}
    look = look_at(path.read_bytes(), row, Measure(), views=VIEWS, flow=dis_flow(), seed=1)
    assert look.problem == ""
    assert decode_strip(look.strip, 4).shape == (4, 96, 54, 3)


def test_a_damaged_strip_is_an_error() -> None:
    whole = encode_strip([np.zeros((8, 9, 3), np.uint8)] * 2, 80)
    assert decode_strip(whole, 2).shape == (2, 8, 9, 3)
    for data, count in ((b"no picture", 2), (whole, 4)):
        with pytest.raises(ValueError, match="no strip of"):
            decode_strip(data, count)


def test_raft_without_weights_is_explained() -> None:
    with pytest.raises(UserError, match="flow_weights names no file"):
        open_flow("raft", None)
