from __future__ import annotations

import io

import numpy as np
import pytest

from hummingbird.data.preparation.structure import ends_early
from tests.data.preparation.videos import make_video, pictures


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "webm", "avi"])
def test_a_file_is_whole_until_its_last_part_is_gone(container: str) -> None:
    codec = "libvpx-vp9" if container == "webm" else "mpeg4" if container == "avi" else "libx264"
    video = make_video(pictures(8), container=container, codec=codec)
    assert not ends_early(io.BytesIO(video))
    for left in (0.9, 0.5, 0.2):
        assert ends_early(io.BytesIO(video[: int(left * len(video))]))


def test_a_large_box_has_its_size_behind_its_type() -> None:
    box = b"\x00\x00\x00\x08ftyp" + b"\x00\x00\x00\x01mdat" + (16 + 100).to_bytes(8, "big")
    assert not ends_early(io.BytesIO(box + bytes(100)))
    assert ends_early(io.BytesIO(box + bytes(99)))


def test_other_files_are_not_judged() -> None:
    live = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7  # a stream of unknown size
    rng = np.random.default_rng(0)
    for data in (b"", b"x", b"text" * 9, live, make_video(pictures(4), container="mpegts")[:999], rng.bytes(5000)):
        assert not ends_early(io.BytesIO(data))
