"""The two filter stages, from shards to clip table and contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from hummingbird.data import video_io
from hummingbird.data.clips import clip_table, write_table
from hummingbird.data.shards import Sample, write_shard
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover
from hummingbird.params import Params
from hummingbird.runlog import SilentLog
from hummingbird.stages import motion_filter, vqa_filter


def _moving(height: int = 32, width: int = 32) -> np.ndarray:
    """A bright square that crosses a grey plane."""
    video = np.full((8, height, width, 3), 90, np.uint8)
    for t in range(8):
        video[t, 8:20, 2 + 2 * t : 14 + 2 * t] = (250, 200, 40)
    return video


def _clips() -> dict[str, np.ndarray]:
    moving = _moving()
    return {
        "fine": moving,
        "dark": moving // 8,
        "bright": 255 - (255 - moving) // 8,
        "frozen": moving[[0] * 8],
        "wide": _moving(48, 90),
    }


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project folder with one shard, a clip that is not kept, and a DOVER of random weights."""
    layout = Layout(tmp_path)
    clips = _clips()
    videos = {name: video_io.encode_mp4(video, 8.0) for name, video in clips.items()}
    write_shard(layout.raw / "shards/00000.tar", [Sample(name, video) for name, video in videos.items()])
    rows = [
        {
            "clip_id": name,
            "shard": "00000.tar",
            "key": name,
            "caption": f"a {name} clip",
            "duration_s": 1.0,
            "fps": 8.0,
            "width": clips[name].shape[2],
            "height": clips[name].shape[1],
            "num_frames": 8,
            "sha256": "0" * 64,
            "source": "test",
            "kept": True,
            "reason": "",
        }
        for name in clips
    ]
    broken = {"clip_id": "broken", "shard": "", "key": "", "num_frames": None, "kept": False, "reason": "unreadable"}
    write_table(clip_table([*rows, {**rows[0], **broken}]), layout.clip_table("download"))
    torch.manual_seed(0)
    Dover(**CONFIG).save_pretrained(layout.foundation / "dover")
    return layout


def _params(**vqa: float) -> Params:
    return Params.model_validate({"vqa_filter": {"min_overall": 0.0, **vqa}})


def _reasons(layout: Layout, stage: str) -> dict[str, str]:
    table = pl.read_parquet(layout.clip_table(stage))
    assert (table["kept"] == (table["reason"] == "")).all()
    return dict(zip(table["clip_id"], table["reason"], strict=True))


def test_both_filters_one_after_the_other(layout: Layout) -> None:
    figures = vqa_filter.run(_params(), layout, SilentLog())
    assert (figures["clips"], figures["kept"]) == (5, 3)
    assert figures["dropped_too_dark"] == figures["dropped_overexposed"] == 1
    after_quality = {"fine": "", "dark": "too_dark", "bright": "overexposed", "frozen": "", "wide": ""}
    assert _reasons(layout, "vqa_filter") == {**after_quality, "broken": "unreadable"}

    figures = motion_filter.run(_params(), layout, SilentLog())
    assert (figures["clips"], figures["kept"], figures["dropped_static"]) == (3, 2, 1)
    assert _reasons(layout, "motion_filter") == {**after_quality, "frozen": "static", "broken": "unreadable"}
    for stage in ("vqa_filter", "motion_filter"):
        assert {path.name for path in layout.sheets(stage).iterdir()} == {"kept.png", "dropped.png"}


def test_scores_are_written_where_they_were_measured(layout: Layout) -> None:
    vqa_filter.run(_params(), layout, SilentLog())
    motion_filter.run(_params(), layout, SilentLog())
    table = pl.read_parquet(layout.clip_table("motion_filter"))
    rows = {row["clip_id"]: row for row in table.iter_rows(named=True)}
    assert all(0 < rows["fine"][name] < 1 for name in ("aesthetic", "technical", "overall"))
    assert rows["frozen"]["static"] == 1.0 and rows["fine"]["static"] < 0.5
    assert rows["dark"]["overall"] is None and rows["dark"]["highlights"] < 0.2 and rows["dark"]["static"] is None
    assert all(rows["broken"][name] is None for name in ("highlights", "overall", *motion_filter.COLUMNS))


def test_low_scores_are_dropped_and_an_empty_result_is_an_error(layout: Layout) -> None:
    scored = vqa_filter.judge(Dover(**CONFIG).eval(), _clips_of_one_size(), _params(min_overall=1.0).vqa_filter, seed=0)
    assert scored["fine"].reason == "low_quality"
    with pytest.raises(UserError, match="keeps none of 5 clips"):
        vqa_filter.run(_params(min_overall=1.0), layout, SilentLog())
    assert not layout.clip_table("vqa_filter").exists()


def _clips_of_one_size() -> dict[str, np.ndarray]:
    return {name: video for name, video in _clips().items() if name != "wide"}


def test_a_missing_model_names_the_next_step(layout: Layout) -> None:
    for path in (layout.foundation / "dover").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no DOVER model") as error:
        vqa_filter.run(_params(), layout, SilentLog())
    assert "dvc repro foundation" in error.value.next_step


def test_a_damaged_model_is_a_clear_error(layout: Layout) -> None:
    weights = next((layout.foundation / "dover").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        vqa_filter.run(_params(), layout, SilentLog())


def test_the_same_seed_gives_the_same_table(layout: Layout) -> None:
    tables = []
    for _ in range(2):
        vqa_filter.run(_params(), layout, SilentLog())
        tables.append(pl.read_parquet(layout.clip_table("vqa_filter")))
    assert tables[0].equals(tables[1])
