"""A few rows that stand for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.data.sources import ClipSource, open_source
from hummingbird.data.sources.sample import sample
from hummingbird.params import Download


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "clips.csv"
    path.write_text("path,text\n" + "".join(f"{n}.mp4,clip {n}\n" for n in range(100)))
    return path


def test_rows_are_spread_over_the_source(csv: Path) -> None:
    few = sample(open_source(Download(source=str(csv))), 5)
    assert not isinstance(few, ClipSource)
    assert [item.caption for item in few.items(0, len(few))] == [f"clip {n}" for n in (0, 25, 50, 74, 99)]
    assert [item.caption for item in few.items(3, 5)] == ["clip 74", "clip 99"]
    assert few.root == csv.parent


def test_a_small_source_is_taken_whole(csv: Path) -> None:
    assert len(sample(open_source(Download(source=str(csv), clips=3)), 16)) == 3


def test_generated_clips_are_the_sources_own() -> None:
    source = open_source(Download(clips=40, frames=2))
    few = sample(source, 3)
    assert isinstance(few, ClipSource) and isinstance(source, ClipSource)
    assert [few.clip(i).clip_id for i in range(3)] == [source.clip(i).clip_id for i in (0, 20, 39)]
