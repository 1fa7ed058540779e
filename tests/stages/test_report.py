"""The report stage on small but whole inputs: what the page says was measured, and gaps are told, not filled."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from evaluation.comparison import Judged, compare, describe
from evaluation.report.formats import DASH, MINUS, TIMES
from evaluation.report.inputs import STAGES
from evaluation.report.tables import figure_of
from evaluation.statistics import bootstrap_mean, median_ratio
from evaluation.vbench.protocol import DIMENSIONS, aggregate
from hummingbird.data import sources, video_io, world
from hummingbird.data.clips import apply_filter, clip_table, write_table
from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Download, Params
from hummingbird.runlog import SilentLog
from hummingbird.stages import report

QUALITY = {"real_clips": 0.92, "teacher": 0.88, "pruned": 0.02, "stage1": 0.8, "stage2": 0.84, "reneg": 0.89}
PROBES = ("probe_all", "probe_color", "probe_shape", "probe_motion")
FIGURES = (*PROBES, "held_out_reward", "held_out_image_reward", "held_out_video_reward")

DECODER = {
    **{"clips": 64, "psnr_db": 26.71, "psnr_db_low": 26.2, "psnr_db_high": 27.3, "ssim": 0.9312, "ssim_low": 0.92},
    **{"ssim_high": 0.94, "flicker": -0.0113, "flicker_low": -0.012, "flicker_high": -0.01, "gflop_ratio": 2.75},
    **{"original_second_difference": 0.0331, "original_params": 963_840, "params": 341_500},
    **{"original_gflop": 0.4631, "gflop": 0.1684},
}


def write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def write_tables(layout: Layout, count: int) -> None:
    """Clips as the world makes them, judged by filters that mistake every tenth clip, and captions rewritten well
    except for every eighth."""
    source = sources.WorldSource(Download(clips=count))
    clips = [source.clip(index) for index in range(count)]
    truth = pl.DataFrame([clip.truth for clip in clips], schema=sources.TRUTH_SCHEMA, orient="row")
    video = {"shard": "00000.tar", "duration_s": 1.0, "fps": 8.0, "width": 32, "height": 32, "num_frames": 8}
    rows = [
        {"clip_id": clip.clip_id, "key": f"{n:08d}", "caption": clip.caption, "sha256": "0" * 64, "source": "world"}
        | video
        | {"kept": n != 0, "reason": "" if n else "corrupt: no frames"}
        for n, clip in enumerate(clips)
    ]
    raw = clip_table(rows)
    kinds = truth["spoilage"].fill_null("none").to_list()
    quality = [("low_quality" if kind in world.QUALITY_SPOILAGE else "") * (n % 10 > 0) for n, kind in enumerate(kinds)]
    motion = [kind if kind in world.MOTION_SPOILAGE else "static" * (n % 25 == 1) for n, kind in enumerate(kinds)]
    after_quality = apply_filter(raw, {}, [not reason for reason in quality], quality)
    after_motion = apply_filter(after_quality, {}, [not reason for reason in motion], motion)
    clean = pl.Series([text if n % 8 else "a circle" for n, text in enumerate(truth["clean_caption"])])
    captioned = after_motion.with_columns(raw_caption="caption", caption=clean, recaption_reason=pl.lit(""))
    tables = {"download": raw, "vqa_filter": after_quality, "motion_filter": after_motion, "recaption": captioned}
    for stage, table in tables.items():
        write_table(table, layout.clip_table(stage))
    write_table(truth, layout.truth)


def write_pictures(layout: Layout, shown: list[dict[str, Any]], count: int) -> None:
    clips = [world.make_clip(5, index).video for index in range(count)]
    sheet = contact_sheet(clips, [f"low_quality  overall 0.{n:02d}" for n in range(count)])
    for stage, names in {
        "download": ["raw"],
        "vqa_filter": ["kept", "dropped_low_quality"],
        "motion_filter": ["kept", "dropped_static", "dropped_dolly_zoom"],
        "stage1": ["step_000010", "step_000400"],
    }.items():
        for name in names:
            save_sheet(sheet, layout.sheets(stage) / f"{name}.png")
    for row in shown:
        for model in QUALITY:
            large = clips[row["index"] % count].repeat(6, axis=1).repeat(6, axis=2)
            video_io.write_mp4(layout.vbench / "samples" / model / f"{row['index']}.mp4", large, 8)


def judged_like(quality: float, noise: np.random.Generator, prompts: int) -> Judged:
    figures = {
        name: noise.binomial(1, quality, prompts) if "probe" in name else noise.normal(quality, 0.08, prompts)
        for name in FIGURES
    }
    figures["flicker"] = noise.normal(0.1 * (1 - quality), 0.01, prompts)
    figures["spread"] = noise.normal(0.3 + 0.05 * quality, 0.01, prompts)
    return Judged(figures, [1 + number % 3 for number in range(prompts)])


def write_vbench(layout: Layout, prompts: int, shown: int) -> list[dict[str, Any]]:
    noise = np.random.default_rng(0)
    judged = {name: judged_like(quality, noise, prompts) for name, quality in QUALITY.items()}
    judged["handwritten"] = judged_like(0.8, noise, prompts)
    described = {name: {**describe(rows), "diversity": 0.2, "diversity_n": 16} for name, rows in judged.items()}
    for name in described:
        small = name not in ("teacher", "reneg", "handwritten")
        described[name] |= {"params": 1_950_000 if small else 3_700_000, "steps": 4 if small else 50}
    scores = {}
    for name, quality in QUALITY.items():
        rows = {key: np.clip(noise.normal(0.9 * quality, 0.1, 40), 0.01, 0.99) for key in DIMENSIONS}
        means = {key: float(values.mean()) for key, values in rows.items()}
        scores[name] = {**aggregate(means), "dimensions": means, "n": prompts, "mode": "miniature"}
        intervals = {key: bootstrap_mean(values).to_json() for key, values in rows.items()}
        write_json(layout.vbench / f"{name}.json", {"header": {"confidence_intervals": intervals}})
    pairs = (("stage1", "pruned"), ("stage2", "stage1"), ("reneg", "teacher"), ("reneg", "handwritten"))
    listed = [{"index": n, "prompt": world.make_clip(5, n).caption, "seed": n % 3 + 1} for n in range(shown)]
    real = described.pop("real_clips")
    summary = {
        "header": {
            "mode": "miniature",
            "prompts_sha256": "5a" * 32,
            "seeds": [1, 2, 3],
            "diversity_seeds": [11, 12, 13],
            "negative_prompt": "blurry dark",
        },
        "models": described,
        "real_clips": real,
        "real_clips_vae": {name: value for name, value in real.items() if name != "diversity"},
        "chance": {"probe_all": 1 / 360, "probe_color": 1 / 8, "probe_shape": 1 / 5, "probe_motion": 1 / 9},
        "vbench": scores,
        "deltas": {f"{new}-{old}": compare(judged[new], judged[old]) for new, old in pairs},
        "shown": listed,
    }
    write_json(layout.vbench / "summary.json", summary)
    return listed


def write_latency(layout: Layout) -> None:
    seconds = {"teacher": [1.02, 1.05, 1.2, 1.01], "stage2": [0.033, 0.031, 0.032, 0.04]}
    seconds["stage2_light"] = [0.031, 0.029, 0.03, 0.037]
    models = {}
    for name, values in seconds.items():
        median, calls = float(np.median(values)), 50 if name == "teacher" else 4
        parts = {"text_encoder": (0.02, 1), "denoiser": (0.9, calls), "vae": (0.05, 1), "other": (0.03, 0)}
        timed = {"median_s": median, "p95_s": max(values), "n": 4, "warmup": 1, "values_s": values}
        models[name] = {
            "steps": calls,
            "guidance_scale": 3.0 if name == "teacher" else None,
            "scheduler": "DDIMScheduler",
            "params": {"text_encoder": 120_000, "denoiser": 3_700_000 if calls == 50 else 1_950_000, "vae": 400_000},
            "batches": {"1": timed, "8": timed},
            "components": {
                part: {"median_s": median * share, "share": share, "calls": float(n), "n": 2.0}
                for part, (share, n) in parts.items()
            },
        }
    where = {"device": "A processor", "device_type": "cpu", "dtype": "float32", "threads": 2, "torch": "2.13.0"}
    ratio = median_ratio(seconds["teacher"], seconds["stage2"]).to_json()
    decoding = {"stage2": [0.005, 0.0052, 0.0051], "stage2_light": [0.003, 0.0031, 0.0028]}
    summary = {
        "conditions": {**where, "resolution": [32, 32], "frames": 8},
        "prompt": "a red circle",
        "models": models,
        "speedup_end_to_end": {"1": ratio, "8": ratio},
        "light_decoder": {
            "speedup_end_to_end": median_ratio(seconds["stage2"], seconds["stage2_light"]).to_json(),
            "speedup_decoding": median_ratio(decoding["stage2"], decoding["stage2_light"]).to_json(),
            "decoding": {name: {"median_s": float(np.median(values))} for name, values in decoding.items()},
        },
    }
    write_json(layout.latency / "summary.json", summary)


def write_curves(layout: Layout, steps: int) -> None:
    noise = np.random.default_rng(1)
    loss = [float(2 * np.exp(-step / steps * 3) + noise.exponential(0.1)) for step in range(steps)]
    reward = [float(0.8 + 0.1 * step / steps + noise.normal(0, 0.03)) for step in range(steps)]
    table = pl.DataFrame({"step": range(steps), "loss": loss, "grad_norm": loss})
    phases = ["distillation" if step < steps // 2 else "consistency" for step in range(steps)]
    tables = {
        "decoder": table.with_columns(pl.Series("psnr_db", [20 + value for value in reward])),
        "stage1": table.with_columns(pl.Series("phase", phases)),
        "stage2": table.with_columns(
            pl.Series("image_reward", reward), pl.Series("video_reward", reward), consistency="loss"
        ),
        "reneg": table.with_columns(pl.Series("image_reward", reward), pl.Series("video_reward", reward)),
    }
    for stage, rows in tables.items():
        layout.curve(stage).parent.mkdir(parents=True, exist_ok=True)
        rows.write_csv(layout.curve(stage))


def build_project(root: Path, *, clips: int = 120, prompts: int = 30, shown: int = 2, steps: int = 60) -> Layout:
    """Everything that the stages before the report leave behind."""
    layout = Layout(root)
    write_tables(layout, clips)
    write_pictures(layout, write_vbench(layout, prompts, shown), 6)
    write_latency(layout)
    write_curves(layout, steps)
    for number, stage in enumerate(STAGES):
        measured = DECODER if stage == "decoder" else {"clips": 3}
        write_json(layout.metrics(stage), {"wall_s": 10.5 + number, "peak_memory_bytes": 2**30 + number, **measured})
    return layout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = build_project(tmp_path_factory.mktemp("project"))
    report.run(Params(), layout, SilentLog())
    return layout


@pytest.fixture(scope="module")
def page(project: Layout) -> str:
    return (project.reports / "index.html").read_text()


@pytest.fixture(scope="module")
def summary(project: Layout) -> dict[str, Any]:
    return read_summary(project)


def read_summary(layout: Layout) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((layout.reports / "summary.json").read_text())
    return values


def figures_on(page: str) -> Iterator[tuple[str, Any, str]]:
    """Path, exact value and text of every figure on the page."""
    for path, value, text in re.findall(r'data-figure="([^"]+)" data-value="([^"]*)"[^>]*>([^<]*)', page):
        yield path, json.loads(html.unescape(value)), html.unescape(text)


def leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from leaves(value)
    else:
        yield tree


def test_the_page_shows_the_figures_of_the_summary(page: str, summary: dict[str, Any]) -> None:
    found = list(figures_on(page))
    assert len({path for path, _, _ in found}) > 150
    for path, value, text in found:
        assert figure_of(summary, path) == value, path
        assert (text == DASH) == (value is None), path
        number = re.search(r"[\d,]+\.?\d*", text)
        if value is not None and number and "min" not in text:
            shown = abs(float(number[0].replace(",", "")))
            scale = next((s for unit, s in ((" %", 100), (" ms", 1e3), (" GiB", 2**-30)) if unit in text), 1)
            allowed = 0.06 if scale == 100 or path.startswith("deltas") else 0.06 * max(1.0, shown)
            assert min(abs(shown - abs(value) * factor) for factor in (scale, 100)) < allowed, (path, text, value)


def test_every_figure_has_its_stable_name(summary: dict[str, Any]) -> None:
    names = "params steps probe_all probe_color probe_shape probe_motion held_out_reward flicker spread diversity"
    for model in ("teacher", "pruned", "stage1", "stage2", "reneg"):
        assert all(summary["models"][model][name] is not None for name in names.split())
        assert (summary["models"][model]["latency_s"] is not None) == (model in ("teacher", "stage2"))
        assert len(summary["vbench"][model]["dimensions"]) == 16
    assert summary["speedup_end_to_end"] == pytest.approx(1.035 / 0.0325)
    assert summary["run"]["wall_s"] == sum(10.5 + number for number in range(len(STAGES)))
    assert summary["run"]["peak_memory_bytes"] == 2**30 + len(STAGES) - 1
    assert summary["run"]["seed"] == 1
    assert 0.0 < summary["captions"]["facts_before"] < summary["captions"]["facts_after"] < 1.0
    assert summary["filters"]["low_quality"]["precision"] == 1.0
    assert 0.5 < summary["filters"]["all"]["recall"] < 1.0


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page) + re.findall(r"url\(([^)]*)\)", page)
    assert addresses
    assert {address.split(":")[0] if ":" in address else address[:1] for address in addresses} == {"data", "#"}
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page


def test_all_videos_and_sheets_are_on_the_page(page: str) -> None:
    assert page.count("<video ") == 2 * 6
    assert page.count('src="data:video/mp4;base64,') == 2 * 6
    assert page.count("data:image/webp;base64,") == 8
    assert len(re.findall(r"<svg [^>]*>\s*<title>", page)) == page.count("<svg") == 1 + 2 + 2 + 3 + 2 + 1 + 1


def test_the_funnel_is_a_file_of_its_own_too(project: Layout) -> None:
    class Noted(SilentLog):
        files: ClassVar[list[str]] = []

        def artifact(self, path: Path) -> None:
            self.files.append(path.name)

    report.run(Params(), project, Noted())
    assert Noted.files == ["summary.json", "index.html", "funnel.svg"]
    texts = re.findall(r">([a-z ]+) <tspan", (project.reports / "funnel.svg").read_text())
    assert {"low quality", "static", "dolly zoom", "corrupt"} <= {text.strip() for text in texts}


def test_sections_come_in_order(page: str) -> None:
    order = ["models", "gains", "videos", "training", "filters", "captions", "vbench", "latency"]
    order += ["decoder", "stages", "lineage"]
    assert re.findall(r'<h2 id="(\w+)"', page) == order
    assert page.index('class="lead"') < page.index('class="tiles"') < page.index('<h2 id="models"')


def test_the_light_decoder_stands_beside_the_vaes(page: str, summary: dict[str, Any]) -> None:
    figures = summary["decoder"]
    assert figures["psnr_db"] == {"value": 26.71, "low": 26.2, "high": 27.3}
    assert figures["ratio"]["params"] == pytest.approx(963_840 / 341_500)
    assert figures["ratio"]["decode_s"] == pytest.approx(0.0051 / 0.003)
    assert figures["ratio"]["end_to_end_s"] == pytest.approx(0.0325 / 0.0305)
    section = page[page.index('<h2 id="decoder"') : page.index('<h2 id="stages"')]
    for text in ("26.71", "0.9312", f"{MINUS}0.0113", "963,840", f"1.70{TIMES}", f"1.07{TIMES}", "64 clips"):
        assert text in section, text


def test_the_result_is_told_in_words(page: str) -> None:
    lead = html.unescape(re.search(r'<p class="lead">(.*?)</p>', page)[1])  # type: ignore[index]
    assert "keeps 53 % of the teacher's parameters" in lead
    assert f"31.8{TIMES} faster" in lead
    assert "Reward feedback " in lead


def test_nothing_at_all_gives_nulls_and_says_why(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    measured = report.run(Params(), layout, SilentLog())
    summary = read_summary(layout)
    run = summary.pop("run")
    assert set(leaves(summary)) == {None}
    assert run["wall_s"] is run["peak_memory_bytes"] is run["git"] is None
    page = (layout.reports / "index.html").read_text()
    assert "These stages have not run" in page
    assert "No model has been judged" in page
    assert "not a git checkout" in page
    assert list(measured) == ["page_bytes"]


def test_real_clips_have_no_truth_and_nobody_pretends(tmp_path: Path) -> None:
    layout = build_project(tmp_path, clips=40, shown=1)
    write_table(pl.DataFrame(schema=sources.TRUTH_SCHEMA), layout.truth)
    report.run(Params(), layout, SilentLog())
    summary = read_summary(layout)
    assert set(leaves(summary["filters"])) == set(leaves(summary["captions"])) == {None}
    page = (layout.reports / "index.html").read_text()
    assert "no ground truth" in page
    assert "True kind" not in page
    assert summary["models"]["teacher"]["probe_all"] is not None


def test_a_missing_stage_leaves_only_its_own_gap(tmp_path: Path) -> None:
    layout = build_project(tmp_path, clips=40, shown=1)
    for path in (layout.latency / "summary.json", layout.metrics("latency"), layout.clip_table("motion_filter")):
        path.unlink()
    report.run(Params(), layout, SilentLog())
    summary = read_summary(layout)
    assert summary["speedup_end_to_end"] is summary["run"]["wall_s"] is None
    assert summary["models"]["teacher"]["latency_s"] is None
    assert summary["models"]["teacher"]["probe_all"] is not None
    assert summary["filters"]["low_quality"]["precision"] == 1.0
    assert summary["filters"]["static"]["recall"] is summary["filters"]["all"]["recall"] is None
    assert "No model has been timed" in (layout.reports / "index.html").read_text()


def test_a_broken_input_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_json(layout.latency / "summary.json", {})
    (layout.latency / "summary.json").write_text("{half")
    with pytest.raises(UserError, match=r"latency/summary\.json cannot be read"):
        report.run(Params(), layout, SilentLog())
    assert not (layout.reports / "index.html").exists()


def test_uncommitted_changes_are_told_but_not_those_of_runs(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "Begin")
    report.run(Params(), Layout(tmp_path), SilentLog())
    report.run(Params(), Layout(tmp_path), SilentLog())  # the first one has written reports
    clean = read_summary(Layout(tmp_path))["run"]
    assert re.fullmatch("[0-9a-f]{40}", clean["git"])
    assert clean["dirty"] is False
    (tmp_path / "code.py").write_text("2")
    report.run(Params(), Layout(tmp_path), SilentLog())
    assert read_summary(Layout(tmp_path))["run"]["dirty"] is True
    assert "with uncommitted changes" in (tmp_path / "reports" / "index.html").read_text()
