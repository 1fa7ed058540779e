"""The page of a curation, on tables like those of a crawl: nothing of what it holds can break the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evaluation.report.curation import render_curation
from evaluation.report.inputs import read_inputs
from evaluation.report.lineage import Lineage
from hummingbird.data.clips import apply_filter, clip_table, write_table
from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.layout import Layout
from hummingbird.params import Params, VqaFilter

LINEAGE = Lineage(None, None, "2026-01-01 00:00 UTC", {"python": "3.11"})
REASONS = [*[""] * 6, "http_404", "http_404: gone", "near_duplicate: clip0", "no_caption", "<script>alert(1)</script>"]
CAPTIONS = ["a cat", "猫が走る", "x" * 10_000, "قطة\x00\u202e", "<script>alert(2)</script>", "dog"]


def crawl(layout: Layout) -> pl.DataFrame:
    rows = [
        {
            **dict.fromkeys(clip_table([]).columns),
            **{"clip_id": f"clip{number}", "caption": (CAPTIONS * 2)[number], "duration_s": 2.0, "source": "crawl"},
            "shard": "" if reason.startswith("http") else "00000.tar",
            "sha256": f"{number % 9:064x}",
            "transcoded": ["rotation,audio", "audio", "", ""][number % 4],
            "duplicate_of": "clip0" if "duplicate" in reason else "clip1" if number == 10 else "",
            "kept": not reason,
            "reason": reason,
        }
        for number, reason in enumerate(REASONS)
    ]
    write_table(clip_table(rows), layout.clip_table("download"))
    return clip_table(rows)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Eleven clips of which six are usable, five pass, and two of these keep their captions."""
    layout = Layout(tmp_path)
    download = crawl(layout)
    scores = {"overall": [0.1, 0.6, 0.7, 0.8, 0.9, 0.9, *[None] * 5]}
    good = [number > 0 for number in range(11)]
    quality = apply_filter(download, scores, good, ["low_quality", *[""] * 10])
    motion = apply_filter(quality, {"jitter": [None, *[0.1] * 5, *[None] * 5]}, [True] * 11, "")
    motion = motion.with_columns(camera=pl.lit("pan"))
    left = [None, "", "too_long: 99 tokens", "", "other_script", "", *[None] * 5]
    captions = motion.with_columns(pl.Series("recaption_reason", left), raw_caption="caption")
    for stage, table in {"vqa_filter": quality, "motion_filter": motion, "recaption": captions}.items():
        write_table(table, layout.clip_table(stage))
    sheet = contact_sheet([np.zeros((4, 32, 32, 3), np.uint8)], ["clip"])
    for path in ("download/raw", "download/dropped_http_404", "vqa_filter/kept", "vqa_filter/dropped_low_quality"):
        save_sheet(sheet, layout.reports / f"sheets/{path}.png")
    return layout


def page_of(layout: Layout, params: Params | None = None) -> str:
    return render_curation(read_inputs(layout), layout, params or Params(), LINEAGE)


def test_it_tells_what_became_of_every_clip(layout: Layout) -> None:
    page = page_of(layout)
    assert "Of 11 clips from <code>world</code>, 5 are kept" in page
    rows = re.findall(r'<tr[^>]*><th scope="row[^>]*>(.*?)(?:<small>.*?)?</th><td[^>]*>([\d,]+)</td>', page)
    counts = {label.strip(): int(clips) for label, clips in rows}
    assert counts["usable"] == 6 and counts["pass quality"] == counts["pass motion"] == 5
    assert counts["http 404"] == 2 and counts["low quality"] == 1 and counts["with a new caption"] == 3
    assert counts["caption as it came: too long"] == counts["caption as it came: other script"] == 1
    lost = [counts[label] for label in ("http 404", "near duplicate", "no caption", "low quality")]
    assert sum(lost) + 1 + 5 == 11  # and one with a strange reason
    assert "Dropped by the download: http 404 (2 clips)" in page
    assert re.search(r"<details open><summary>Dropped by the quality filter: low quality \(1 clip\)", page)
    assert counts["audio"] == 6 and counts["rotation"] == 3
    assert "2 clips repeat an earlier one, 1 of them byte for byte" in page and "clip8 repeats clip0" in page


def test_it_needs_nothing_but_itself_and_shows_nothing_of_later_stages(layout: Layout) -> None:
    page = page_of(layout)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {address.partition(":")[0] for address in addresses if address[0] != "#"} == {"data"}
    body = page[page.index("<body>") :]
    assert "has not run" not in body and "VBench" not in body and "stage1" not in body
    assert "data_docs" not in page
    (layout.reports / "data_docs").mkdir()
    (layout.reports / "data_docs/index.html").write_text("gates")
    assert page_of(layout).count('href="data_docs/index.html"') == 2


def test_hostile_text_stays_text_and_long_captions_are_cut(layout: Layout) -> None:
    page = page_of(layout)
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "&lt;script&gt;alert(2)" in page
    assert "猫が走る" in page and "\x00" not in page and "\u202e" not in page
    assert "(10,000 characters)" in page and "x" * 400 not in page


def test_bounds_and_parameters_are_those_of_the_run(layout: Layout) -> None:
    page = page_of(layout, Params(vqa_filter=VqaFilter(min_overall=0.35)))
    assert "min_overall 0.35" in page and "min_overall: 0.35" in page
    parameters = page[page.index("<pre") :]
    assert "encode:" in parameters and "stage2:" not in parameters and "vbench:" not in parameters


@pytest.mark.parametrize("missing", [("recaption",), ("recaption", "motion_filter"), ("vqa_filter",)])
def test_steps_that_have_not_run_are_not_on_it(layout: Layout, missing: tuple[str, ...]) -> None:
    for stage in missing:
        layout.clip_table(stage).unlink()
    page = page_of(layout)
    assert "Of 11 clips" in page
    assert ("pass quality" in page) == ("vqa_filter" not in missing)
    assert ('id="captions"' in page) == ("recaption" not in missing)


def test_before_the_crawl_it_says_so(tmp_path: Path) -> None:
    page = page_of(Layout(tmp_path))
    assert "Nothing has been crawled yet" in page and 'id="funnel"' not in page
