"""Measuring and the two filters that decide by it, on clips with one defect each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from hummingbird.data import video_io, world
from hummingbird.data.clips import clip_table, read_table, write_table
from hummingbird.data.measuring import shard as shard_module
from hummingbird.data.measuring.table import MOTION, SCHEMA
from hummingbird.data.shards import Sample, write_shard
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover
from hummingbird.ops.codedeps import code_of
from hummingbird.params import Params, VqaFilter, dump_params
from hummingbird.runlog import SilentLog
from hummingbird.stages import measure, motion_filter, vqa_filter

MEASURE = """
import sys
from pathlib import Path
from hummingbird.layout import Layout
from hummingbird.params import load_params
from hummingbird.runlog import SilentLog
from hummingbird.stages import measure
if __name__ == "__main__":
    root = Path(sys.argv[1])
    measure.run(load_params(root / "params.yaml"), Layout(root), SilentLog())
"""


def _moving(height: int = 32, width: int = 32) -> np.ndarray:
    """A bright square that crosses a grey plane."""
    video = np.full((8, height, width, 3), 90, np.uint8)
    for t in range(8):
        video[t, 8:20, 2 + 2 * t : 14 + 2 * t] = (250, 200, 40)
    return video


def _still() -> np.ndarray:
    """A photograph, with noise that keeps its frames from being repeats."""
    noise = np.random.default_rng(0).integers(-2, 3, (8, 32, 32, 3))
    return (_moving()[[0] * 8].astype(int) + noise).clip(0, 255).astype(np.uint8)


def _clips() -> dict[str, np.ndarray]:
    moving = _moving()
    return {
        "fine": moving,
        "dark": moving // 8,
        "bright": 255 - (255 - moving) // 8,
        "still": _still(),
        "wide": _moving(48, 90),
    }


def _write(layout: Layout, shards: list[dict[str, np.ndarray]]) -> None:
    """Shards of clips with their table, which has one more row that is not kept."""
    rows = []
    for number, clips in enumerate(shards):
        videos = {name: video_io.encode_mp4(video, 8.0, crf=4) for name, video in clips.items()}
        write_shard(layout.raw / f"shards/{number:05d}.tar", [Sample(name, video) for name, video in videos.items()])
        for name, video in clips.items():
            rows.append(
                {
                    "clip_id": name,
                    "shard": f"{number:05d}.tar",
                    "key": name,
                    "caption": f"a {name} clip",
                    "duration_s": 1.0,
                    "fps": 8.0,
                    "width": video.shape[2],
                    "height": video.shape[1],
                    "num_frames": 8,
                    "sha256": f"{number:064d}",
                    "source": "test",
                    "kept": True,
                    "reason": "",
                }
            )
    broken = {"clip_id": "broken", "shard": "", "key": "", "num_frames": None, "kept": False, "reason": "unreadable"}
    write_table(clip_table([*rows, {**rows[0], **broken}]), layout.clip_table("download"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project folder with one shard, a clip that is not kept, and a DOVER of random weights."""
    layout = Layout(tmp_path)
    _write(layout, [_clips()])
    torch.manual_seed(0)
    Dover(**CONFIG).save_pretrained(layout.foundation / "dover")
    shard_module.load_dover.cache_clear()
    return layout


def _params(**vqa: float) -> Params:
    return Params.model_validate({"vqa_filter": {"min_overall": 0.0, **vqa}})


def _measure(layout: Layout) -> dict[str, float]:
    return measure.run(_params(), layout, SilentLog())


def _reasons(layout: Layout, stage: str) -> dict[str, str]:
    table = pl.read_parquet(layout.clip_table(stage))
    assert (table["kept"] == (table["reason"] == "")).all()
    return dict(zip(table["clip_id"], table["reason"], strict=True))


def _outputs(layout: Layout) -> dict[str, bytes]:
    files = sorted(path for path in layout.measure.rglob("*") if path.is_file())
    return {path.relative_to(layout.measure).as_posix(): path.read_bytes() for path in files}


def test_measuring_and_both_filters_one_after_the_other(layout: Layout) -> None:
    assert _measure(layout) == {"clips": 5.0, "unreadable": 0.0, "spared": 2.0}
    figures = vqa_filter.run(_params(), layout, SilentLog())
    assert (figures["clips"], figures["kept"]) == (5, 3)
    assert figures["dropped_too_dark"] + figures["dropped_black"] == figures["dropped_overexposed"] == 1
    after_quality = _reasons(layout, "vqa_filter")
    assert after_quality.pop("dark") in ("too_dark", "black")
    assert after_quality == {"fine": "", "bright": "overexposed", "still": "", "wide": "", "broken": "unreadable"}

    figures = motion_filter.run(_params(), layout, SilentLog())
    assert (figures["clips"], figures["kept"], figures["dropped_static"]) == (3, 2, 1)
    assert _reasons(layout, "motion_filter")["still"] == "static"
    found = {path.name for path in layout.sheets("vqa_filter").iterdir()}
    assert {"kept.png", "dropped_overexposed.png"} < found and len(found) == 3
    assert {path.name for path in layout.sheets("motion_filter").iterdir()} == {"kept.png", "dropped_static.png"}


def test_each_clip_is_counted_while_the_bar_grows(layout: Layout, told: Any) -> None:
    shard = layout.raw / "shards/00000.tar"
    wide = video_io.encode_mp4(_clips()["wide"], 8.0, crf=4)
    shard.write_bytes(shard.read_bytes().replace(wide, bytes(len(wide))))
    for _ in range(2):  # the second time nothing is left to be measured
        measure.run(_params(), layout, told)
    vqa_filter.run(_params(), layout, told)
    motion_filter.run(_params(), layout, told)
    assert [(name, count) for name, _, count in told.bars] == [
        ("measuring", 5), ("measuring", 5), ("quality", 5), ("motion", 2),
    ]  # fmt: skip
    measuring, again, quality, motion = told.verdicts
    assert measuring == again == {"kept": 4, "unreadable": 1}
    assert (quality["kept"], quality["unreadable"], quality["overexposed"], quality.total()) == (2, 1, 1, 5)
    assert motion == {"kept": 1, "static": 1}


def test_scores_are_written_where_they_were_measured(layout: Layout) -> None:
    _measure(layout)
    vqa_filter.run(_params(), layout, SilentLog())
    motion_filter.run(_params(), layout, SilentLog())
    table = pl.read_parquet(layout.clip_table("motion_filter"))
    rows = {row["clip_id"]: row for row in table.iter_rows(named=True)}
    assert all(0 < rows["fine"][name] < 1 for name in ("aesthetic", "technical", "overall"))
    assert rows["still"]["static"] == 1.0 and rows["fine"]["static"] < 0.5
    assert rows["fine"]["camera"] and rows["dark"]["camera"] is None
    assert rows["dark"]["overall"] is None and rows["dark"]["highlights"] < 0.2 and rows["dark"]["static"] is None
    assert all(rows["broken"][name] is None for name in ("highlights", "overall", *MOTION))


def test_the_filters_need_no_video(layout: Layout) -> None:
    _measure(layout)
    (layout.raw / "shards/00000.tar").unlink()
    vqa_filter.run(_params(), layout, SilentLog())
    assert motion_filter.run(_params(), layout, SilentLog())["kept"] == 2


def _scores(**columns: list[float | None]) -> pl.DataFrame:
    """Rows of a table of scores, of clips that are fine but for what is given."""
    fine = {"highlights": 0.9, "shadows": 0.1, "black": 0.0, "frozen": 0.0, "bars": 0.0, "blockiness": 0.0}
    fine |= {"aesthetic": 0.8, "technical": 0.8, "overall": 0.8}
    count = len(next(iter(columns.values())))
    values = {
        name: columns.get(name, [fine.get(name)] * count) for name in SCHEMA if name not in ("clip_id", "problem")
    }
    names = [f"clip{number}" for number in range(count)]
    return pl.DataFrame({"clip_id": names, "problem": [""] * count, **values})


@pytest.mark.parametrize(
    ("column", "value", "settings", "reason"),
    [
        ("overall", 0.4, {}, "low_quality"),
        ("overall", 0.4, {"min_overall": 0.3}, ""),
        ("technical", 0.4, {"min_technical": 0.5}, "low_technical"),
        ("aesthetic", 0.4, {"min_aesthetic": 0.5}, "low_aesthetic"),
        ("bars", 0.3, {}, "letterbox"),
        ("blockiness", 0.6, {}, "blocky"),
    ],
)
def test_thresholds(column: str, value: float, settings: dict[str, float], reason: str) -> None:
    kept = pl.Series([True])
    assert vqa_filter.judge(_scores(**{column: [value]}), VqaFilter(**settings), kept) == [reason]


def test_a_share_of_the_best_can_be_kept() -> None:
    scores = _scores(overall=[0.9, 0.6, 0.8, 0.2, 0.7])
    waiting = pl.Series([True, True, True, True, False])
    reasons = vqa_filter.judge(scores, VqaFilter(keep_best=0.67), waiting)
    assert reasons == ["", "not_best", "", "low_quality", ""]


def test_a_bound_that_is_looser_than_what_was_spared_is_an_error() -> None:
    scores = _scores(highlights=[0.15], overall=[None])
    with pytest.raises(UserError, match="1 clips pass the bounds") as error:
        vqa_filter.judge(scores, VqaFilter(min_highlights=0.1), pl.Series([True]))
    assert "measure.spare" in error.value.next_step


def test_an_empty_result_is_an_error(layout: Layout) -> None:
    _measure(layout)
    with pytest.raises(UserError, match="keeps none of 5 clips"):
        vqa_filter.run(_params(min_overall=1.0), layout, SilentLog())
    assert not layout.clip_table("vqa_filter").exists()


def test_a_clip_that_is_damaged_in_its_shard_gets_a_reason(layout: Layout) -> None:
    path = layout.raw / "shards/00000.tar"
    fine = video_io.encode_mp4(_clips()["fine"], 8.0, crf=4)
    content = path.read_bytes()
    assert fine in content
    path.write_bytes(content.replace(fine, bytes(len(fine))))
    assert _measure(layout)["unreadable"] == 1
    vqa_filter.run(_params(), layout, SilentLog())
    assert _reasons(layout, "vqa_filter")["fine"].startswith("unreadable: cannot be decoded")


def test_missing_inputs_name_the_next_step(layout: Layout) -> None:
    with pytest.raises(UserError, match="no scores") as error:
        vqa_filter.run(_params(), layout, SilentLog())
    assert "dvc repro measure" in error.value.next_step
    for path in (layout.foundation / "dover").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no DOVER model") as error:
        _measure(layout)
    assert "dvc repro foundation" in error.value.next_step


def test_a_damaged_model_is_a_clear_error(layout: Layout) -> None:
    weights = next((layout.foundation / "dover").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        _measure(layout)


def test_scores_of_other_clips_are_an_error(layout: Layout) -> None:
    _measure(layout)
    _write(layout, [{**_clips(), "new": _moving()}])
    with pytest.raises(UserError, match="1 kept clips, new among them"):
        vqa_filter.run(_params(), layout, SilentLog())


def test_only_what_changed_is_measured_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(layout, [{"a": _moving()}, {"b": _still()}])
    _measure(layout)
    first = _outputs(layout)
    measured: list[str] = []
    look = shard_module.look_at

    def noted(video: bytes, row: dict, *rest: object, **options: object) -> object:
        measured.append(row["clip_id"])
        return look(video, row, *rest, **options)

    monkeypatch.setattr(shard_module, "look_at", noted)
    _measure(layout)
    assert measured == [] and _outputs(layout) == first
    _write(layout, [{"a": _moving()}, {"b": _still()}, {"c": _moving()}])
    _measure(layout)
    assert measured == ["c"]


def test_another_code_library_or_weights_measures_everything_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = layout.root / "raft.pth"
    weights.write_bytes(b"some")
    settings = _params().measure.model_copy(update={"flow_weights": str(weights)})

    def key() -> str:
        return measure.measuring_key(settings, 0, layout.foundation / "dover")

    keys = [key()]
    assert key() == keys[0]
    weights.write_bytes(b"others")
    keys.append(key())
    version = metadata.version
    for library in ("av", "opencv-python-headless", "torch"):
        monkeypatch.setattr(metadata, "version", lambda name, it=library: "0" if name == it else version(name))
        keys.append(key())
    monkeypatch.setattr(metadata, "version", version)
    edited = layout.root / "motion.py"
    edited.write_text("# another way to measure")
    code = measure._code()
    monkeypatch.setattr(measure, "_code", lambda: [edited if path.name == edited.name else path for path in code])
    keys.append(key())
    assert len(set(keys)) == 6


def test_a_job_holds_what_it_needs_and_hashes_its_rows_once(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    write = pl.DataFrame.write_csv

    def noted(table: pl.DataFrame, *rest: Any) -> str:
        hashed.append(table.width)
        return write(table, *rest)

    held: list[list[str]] = []
    work = measure.measure_all

    def looked_at(jobs: list[shard_module.ShardJob], *rest: Any) -> Any:
        held.extend(job.rows.columns for job in jobs)
        return work(jobs, *rest)

    monkeypatch.setattr(pl.DataFrame, "write_csv", noted)
    monkeypatch.setattr(measure, "measure_all", looked_at)
    _measure(layout)
    assert len(hashed) == 1
    assert held == [list(shard_module.COLUMNS)]


def test_all_code_that_shapes_a_score_is_known() -> None:
    root = Path(measure.__file__).parents[3]
    shaping = ("src/hummingbird/data/", "src/hummingbird/models/")
    others = {"data/clips.py", "data/shards.py"}  # tables, and where the bytes of a clip lie
    others |= {f"models/convert/{name}.py" for name in ("keymap", "loading", "reading")}  # how weights are read
    used = {root / path for path in code_of("measure", root) if path.startswith(shaping)}
    assert used <= {*measure._code(), *(root / "src/hummingbird" / name for name in others)}


@pytest.fixture
def large(layout: Layout) -> Layout:
    """Four shards of the world: enough clips for worker processes."""
    shards = [
        {f"w{n}-{i}": world.make_clip(3, 20 * n + i, spoilt_share=0.3).video for i in range(20)} for n in range(4)
    ]
    _write(layout, shards)
    (layout.root / "params.yaml").write_text(dump_params(_params()))
    return layout


def _start(layout: Layout) -> subprocess.Popen[bytes]:
    script = layout.root / "measure.py"
    script.write_text(MEASURE)
    return subprocess.Popen([sys.executable, script, layout.root])


def test_killed_and_resumed_measuring_gives_the_bytes_of_an_undisturbed_one(large: Layout) -> None:
    """... and worker processes those of none."""
    clips = read_table(large.clip_table("download")).filter(pl.col("kept"))
    dover = large.foundation / "dover"
    key = measure.measuring_key(_params().measure, _params().seed, dover)
    process = _start(large)
    parts = large.work("measure", key)
    deadline = time.monotonic() + 300
    while not list(parts.glob("*.scores.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(parts.glob("*.scores.parquet")))
    assert 1 <= done < 4 and not large.measure.exists()
    assert _start(large).wait(timeout=300) == 0
    resumed = _outputs(large)

    alone = large.root / "alone"
    for rows in clips.partition_by("shard", maintain_order=True):
        job = shard_module.ShardJob(large.raw / "shards", rows, _params().measure, _params().seed, dover, alone)
        assert shard_module.measure_shard(job) == [""] * 20
        assert job.strips.read_bytes() == resumed[f"strips/{Path(rows['shard'][0]).stem}.parquet"]
    scores = pl.concat([pl.read_parquet(path) for path in sorted(alone.glob("*.scores.parquet"))])
    assert scores.equals(pl.read_parquet(large.measure / "scores.parquet"))
