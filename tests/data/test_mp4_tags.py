"""Facts in the file of a video."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from hummingbird.data import world
from hummingbird.data.mp4_tags import read_facts, tagged, write_tagged_mp4
from hummingbird.data.video_io import VideoError, decode, encode_mp4

FACTS = {"prompt": 'a "red" circle, ein Kreis für dich', "seed": 7, "weights": {"artifacts/stage2": "ab.dir"}}


def test_facts_come_back_and_the_pictures_are_the_same(tmp_path: Path) -> None:
    clip = world.make_clip(1, 2).video
    write_tagged_mp4(tmp_path / "out/a.mp4", clip, 8, FACTS, crf=10, pixel_format="yuv444p")
    assert read_facts(tmp_path / "out/a.mp4") == FACTS
    plain, fps = decode(encode_mp4(clip, 8))
    video, tagged_fps = decode(tmp_path / "out/a.mp4")
    np.testing.assert_array_equal(video, plain)
    assert tagged_fps == fps


def test_players_see_them_as_the_comment_and_browsers_can_play_the_file(tmp_path: Path) -> None:
    write_tagged_mp4(tmp_path / "a.mp4", world.make_clip(1, 2).video, 8, FACTS)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert '"seed": 7' in container.metadata["comment"]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert container.duration == pytest.approx(1e6, rel=0.01)  # microseconds


def test_equal_facts_give_equal_bytes_and_others_do_not() -> None:
    plain = encode_mp4(world.make_clip(1, 3).video, 8)
    assert len({tagged(plain, FACTS) for _ in range(10)}) == 1
    assert tagged(plain, dict(reversed(FACTS.items()))) == tagged(plain, FACTS)
    assert tagged(plain, FACTS | {"seed": 8}) != tagged(plain, FACTS)


def test_other_videos_carry_nothing_and_other_files_are_refused(tmp_path: Path) -> None:
    plain = encode_mp4(world.make_clip(1, 3).video, 8)
    (tmp_path / "plain.mp4").write_bytes(plain)
    assert read_facts(tmp_path / "plain.mp4") == {}
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="cannot be read"):
        read_facts(tmp_path / "text.mp4")
