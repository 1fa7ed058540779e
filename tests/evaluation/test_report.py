"""Parts of the report on cases small enough to count by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import polars as pl
import pytest

from evaluation.report import charts, filters, formats
from evaluation.report.captions import examples, facts_stated, judge_captions, sample, scene_of
from evaluation.report.filters import Step
from evaluation.report.funnel import funnel_chart, funnel_file
from evaluation.report.histograms import MOTION, histogram, histograms
from evaluation.report.histograms import QUALITY as QUALITY_SCORES
from evaluation.report.prose import result
from evaluation.report.svg import Scale, tick_labels
from hummingbird.data import world
from hummingbird.data.sources import TRUTH_SCHEMA, WorldSource
from hummingbird.params import Download, Params

KINDS = [None, None, None, "dark", "dark", "blur", "blur", "static", "static", "dolly_zoom"]
REASONS = ["", "low_quality", "", "too_dark", "low_quality", "low_quality", "", "static", "", "static: all of it"]
QUALITY = ("too_dark", "low_quality")


def table(reasons: list[str]) -> pl.DataFrame:
    ids = [str(number) for number in range(len(reasons))]
    return pl.DataFrame({"clip_id": ids, "reason": reasons, "kept": [not reason for reason in reasons]})


@pytest.fixture
def truth() -> pl.DataFrame:
    ids = [str(number) for number in range(len(KINDS))]
    return pl.DataFrame({"clip_id": ids, "spoilage": KINDS})


@pytest.fixture
def tables() -> dict[str, pl.DataFrame]:
    return {
        "download": table([""] * len(KINDS)),
        "vqa_filter": table([reason if reason in QUALITY else "" for reason in REASONS]),
        "motion_filter": table(REASONS),
    }


def test_precision_and_recall_by_hand(tables: dict[str, pl.DataFrame], truth: pl.DataFrame) -> None:
    found = filters.precision_and_recall(tables, truth)
    assert found["all"] == {"precision": 5 / 6, "recall": 5 / 7, "dropped": 6, "spoilt": 7, "clips": 10}
    assert found["too_dark"] == {"precision": 1.0, "recall": 1.0, "dropped": 1, "spoilt": 2}
    assert found["low_quality"] == {"precision": 2 / 3, "recall": 3 / 4, "dropped": 3, "spoilt": 4}
    assert found["static"] == {"precision": 1 / 2, "recall": 1 / 2, "dropped": 2, "spoilt": 2}
    assert found["dolly_zoom"] == {"precision": None, "recall": 1.0, "dropped": 0, "spoilt": 1}
    assert found["kinds"]["blur"] == {"recall": 1 / 2, "clips": 2}
    assert found["kinds"]["noise"] == {"recall": None, "clips": 0}


def test_confusion_counts_every_judged_clip_once(tables: dict[str, pl.DataFrame], truth: pl.DataFrame) -> None:
    counts = filters.confusion(tables, truth)
    assert sum(sum(row.values()) for row in counts.values()) == 10
    assert counts["none"] == {
        "kept": 2,
        "black": 0,
        "too_dark": 0,
        "overexposed": 0,
        "frozen": 0,
        "blocky": 0,
        "low_quality": 1,
        "static": 0,
        "dolly_zoom": 0,
    }
    assert counts["dolly_zoom"]["static"] == 1


def test_clips_that_never_reached_a_filter_do_not_count(tables: dict[str, pl.DataFrame], truth: pl.DataFrame) -> None:
    tables["download"] = table(["corrupt: empty file", *[""] * 9])
    assert filters.precision_and_recall(tables, truth)["all"]["clips"] == 9


def test_the_funnel_counts_all_clips(tables: dict[str, pl.DataFrame]) -> None:
    tables["download"] = table(["http_404: gone", *[""] * 9])
    tables["vqa_filter"] = table(["http_404: gone", *tables["vqa_filter"]["reason"][1:]])
    tables["motion_filter"] = table(["http_404: gone", *REASONS[1:]])
    reasons = ["", "too_long: 99", "", "timeout", None, None, None, None, None, None]
    kept = [True, True, True, True, *[False] * 6]
    tables["recaption"] = pl.DataFrame({"kept": kept, "recaption_reason": reasons})
    funnel = filters.funnel(tables)
    assert funnel is not None
    assert (funnel.crawled, funnel.kept) == (10, 3)
    download, quality, motion, captions = funnel.steps
    assert (download.left, download.out) == (9, {"http_404": 1})
    assert (quality.left, quality.out) == (5, {"low_quality": 3, "too_dark": 1})
    assert (motion.left, motion.out) == (3, {"static": 2})
    assert (captions.left, captions.out, captions.loses) == (2, {"timeout": 1, "too_long": 1}, False)
    assert filters.funnel({}) is None


def test_the_funnel_chart_is_to_scale_and_names_every_reason() -> None:
    reasons = {f"reason_{number:02d}": 20 - number for number in range(12)}
    lost = sum(reasons.values())
    steps = (Step("download", 1000 - lost, {"<b>&": lost}), Step("vqa_filter", 1000 - 2 * lost, reasons))
    drawing = ElementTree.fromstring(funnel_chart(filters.Funnel(1000, steps)))
    texts = ["".join(text.itertext()) for text in drawing.iter("text")]
    assert "<b>& 174" in texts and "reason 06 14" in texts and "5 other reasons 55" in texts
    assert texts.count("usable") == texts.count("pass quality") == 1
    heights = [float(bar.attrib["height"]) for bar in drawing.iter("rect")]
    assert heights[0] == 150.0 and heights[1] == pytest.approx(150 * (1000 - lost) / 1000, abs=0.1)
    box = [float(side) for side in drawing.attrib["viewBox"].split()]
    assert all(float(text.attrib["y"]) < box[3] for text in drawing.iter("text"))


def test_the_funnel_file_is_a_picture_of_its_own() -> None:
    steps = (Step("download", 0, {"bad\x00name": 3}), Step("vqa_filter", 0, {}))
    drawing = ElementTree.fromstring(funnel_file(filters.Funnel(3, steps)))
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(drawing.attrib["width"]) == 1110
    assert "--accent" in (drawing.findtext("{http://www.w3.org/2000/svg}style") or "")
    funnel_file(filters.Funnel(0, ()))


def test_histograms_count_every_clip_and_colour_by_the_bound() -> None:
    values = np.array([0.0, 0.1, 0.2, 0.6, 0.7, 1.0])
    drawing = ElementTree.fromstring(histogram(QUALITY_SCORES[0], values, 0.5, None))
    bars = [bar.attrib["style"] for bar in drawing.iter("rect")]
    assert bars == ["fill: var(--bad)"] * 3 + ["fill: var(--accent)"] * 3
    [bound] = [line for line in drawing.iter("line") if line.attrib["class"] == "chance"]
    assert float(bound.attrib["x1"]) == pytest.approx(175)
    assert "min_overall 0.5" in [text.text for text in drawing.iter("text")]


def test_a_far_value_does_not_flatten_a_histogram_and_is_not_lost() -> None:
    values = np.array([0.001 * number for number in range(300)] + [1e6])
    drawing = ElementTree.fromstring(histogram(MOTION[4], values, None, None))
    assert len(list(drawing.iter("rect"))) > 30
    assert "n = 301" in [text.text for text in drawing.iter("text")]


def test_histograms_follow_the_parameters() -> None:
    scores = table(REASONS).with_columns(jitter=pl.lit(0.2), camera_zoom=pl.lit(-2.0), static=None)
    settings = {"motion_filter": {"max_jitter": None, "max_zoom": 1.5}}
    charts = histograms({"motion_filter": scores}, MOTION, Params.model_validate(settings))
    assert len(charts) == 2  # static was not measured
    assert "max_jitter" not in charts[0] and "max_zoom 1.5" in charts[1]
    assert "var(--bad)" in charts[1] and charts[1].count('class="chance"') == 2


def test_a_sample_of_captions_has_rewritten_ones_and_each_reason() -> None:
    reasons = [""] * 40 + ["too_long: 99", "too_long: 80", "timeout", *["chatter"] * 5, "link_or_markup", "other"]
    count = len(reasons)
    clips = pl.DataFrame(
        {
            "clip_id": [str(number) for number in range(count + 1)],
            "kept": [True] * count + [False],
            "raw_caption": "4k",
            "caption": "a cat",
            "recaption_reason": [*reasons, None],
        }
    )
    found = sample(clips, 12)
    assert len(found) == 12
    assert found["reason"].to_list()[-4:] == ["too_long: 99", "timeout", "chatter", "link_or_markup"]
    assert set(found["reason"][:8]) == {""} and int(found["clip_id"][7]) > 30
    assert len(sample(clips.head(0), 12)) == 0


def test_scenes_come_back_from_the_truth() -> None:
    source = WorldSource(Download(spoilt_share=0.0))
    for index in range(30):
        row = source.clip(index).truth
        assert row is not None
        assert world.caption(scene_of(row)) == row["clean_caption"]
        assert (row["relation"] is None) == (len(scene_of(row).objects) == 1)


def test_captions_are_judged_by_their_facts() -> None:
    source = WorldSource(Download(sloppy_share=1.0))
    rows = [source.clip(index).truth for index in range(6)]
    truth = pl.DataFrame(rows, schema=TRUTH_SCHEMA, orient="row")
    clips = truth.select("clip_id", raw_caption=pl.lit("4k stock footage"), caption="clean_caption")
    clips = clips.with_columns(kept=pl.Series([True, True, True, True, False, False]))
    clips = clips.with_columns(
        caption=pl.when(pl.col("clip_id") == rows[0]["clip_id"]).then(pl.lit("a circle")).otherwise("caption")
    )
    judged = judge_captions(clips, truth)
    assert facts_stated(judged) == {
        "facts_before": 0.0,
        "facts_after": 3 / 4,
        "sloppy_facts_after": 3 / 4,
        "n": 4,
        "sloppy_n": 4,
    }
    assert examples(judged, 3)["after"].to_list() == [True, True, False]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000812, "812 µs"), (0.0312, "31.2 ms"), (1.084, "1.08 s"), (245.0, "4 min 05 s"), (None, formats.DASH)],
)
def test_seconds(value: float | None, text: str) -> None:
    assert formats.seconds(value) == text


def test_signs_and_gaps_are_typeset() -> None:
    assert formats.signed(-0.5, 1) == f"{formats.MINUS}0.5"
    assert formats.percent(-0.5) == f"{formats.MINUS}50.0 %"
    assert formats.interval(-1, 1, 1) == f"{formats.MINUS}1.0 to 1.0"
    assert formats.interval(None, 1.0) == ""
    assert formats.bytes_(3 * 2**30) == "3.00 GiB"


def test_ticks_are_round_and_told_apart() -> None:
    assert Scale(0.0, 1.0, 0, 100).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert tick_labels([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert tick_labels([-500.0, 0.0, 500.0]) == [f"{formats.MINUS}500", "0", "500"]


def test_charts_are_whole_xml_and_to_scale() -> None:
    bars = [charts.Bar("a", 25.0, "25 %", "teacher", 20.0, 30.0), charts.Bar("b <c>", 100.0, "100 %", "stage1")]
    drawing = ElementTree.fromstring(charts.bar_chart("Shares & more", bars, "share (%)", 100.0, 5.0))
    assert drawing.findtext("title") == "Shares & more"
    short, long = (float(bar.attrib["width"]) for bar in drawing.iter("rect"))
    assert short == pytest.approx(long / 4, abs=0.1)
    assert "b <c>" in [text.text for text in drawing.iter("text")]


def test_a_spike_does_not_flatten_a_curve() -> None:
    values = [1.0 + 0.1 * (step % 2) for step in range(1000)]
    values[500] = 1000.0
    line = charts.Line("loss", "stage1", list(range(1000)), values)
    drawing = ElementTree.fromstring(charts.line_chart("Loss", [line], "loss", 1001))
    raw = next(line for line in drawing.iter("polyline") if "raw" in line.attrib["class"])
    heights = [float(point.split(",")[1]) for point in raw.attrib["points"].split()]
    assert len(heights) == 1000
    assert abs(heights[0] - heights[1]) > 5  # pixels
    assert min(heights) >= 0


def test_an_unclear_difference_is_called_unclear() -> None:
    tree = {"models": {}, "speedup_end_to_end": None, "deltas": {}}
    delta = {"value": 0.01, "low": -0.01, "high": 0.03, "excludes_zero": False}
    tree["deltas"] = {"stage2-stage1": {"held_out_reward": delta}}
    assert "does not clearly change" in result(tree, None)[0]
    delta |= {"value": -0.02, "excludes_zero": True}
    assert "lowers" in result(tree, None)[0]
