"""The two stages on a project of untrained models: formats, resuming after a kill, and what they say about hardware."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from evaluation.vbench.protocol import DIMENSIONS
from evaluation.vbench.sampling import Job
from hummingbird.data.mp4_tags import read_facts
from hummingbird.data.video_io import decode
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Latency, Params, Vbench
from hummingbird.provenance import weights
from hummingbird.runlog import SilentLog
from hummingbird.stages import latency, vbench

SMALL = Params(
    vbench=Vbench(
        prompts=12,
        two_object_prompts=3,
        negative_prompts=7,
        diversity_prompts=2,
        diversity_seeds=(11,),
        batch_size=16,
        shown_prompts=3,
    ),
    latency=Latency(teacher_repeats=2, student_repeats=4, component_repeats=1, large_batch=2, large_batch_repeats=2),
)
MODELS = ("teacher", "pruned", "stage1", "stage2", "reneg", "handwritten")


@pytest.fixture(scope="module")
def judged(untrained_project: Layout) -> dict[str, float]:
    return vbench.run(SMALL, untrained_project, SilentLog())


@pytest.fixture(scope="module")
def summary(untrained_project: Layout, judged: dict[str, float]) -> dict[str, Any]:
    return json.loads((untrained_project.vbench / "summary.json").read_text())


def test_every_model_has_every_figure(summary: dict[str, Any]) -> None:
    assert tuple(summary["models"]) == MODELS
    for name, figures in summary["models"].items():
        for figure in (
            "probe_all",
            "probe_color",
            "probe_shape",
            "probe_motion",
            "held_out_reward",
            "flicker",
            "spread",
        ):
            low, high = figures["ci"][figure]
            assert low <= figures[figure] <= high, (name, figure)
        assert set(figures["seeds"]) == {"1", "2", "3"}
        assert ("diversity" in figures) == (name != "handwritten")
    assert summary["models"]["teacher"]["steps"] == 50
    assert summary["models"]["stage2"]["steps"] == 4
    assert summary["models"]["stage2"]["params"] < summary["models"]["teacher"]["params"]


def test_results_have_vbench_format(untrained_project: Layout, summary: dict[str, Any]) -> None:
    result = json.loads((untrained_project.vbench / "stage2.json").read_text())
    header = result.pop("header")
    assert set(result) == set(DIMENSIONS) == set(header["metric_versions"])
    for dimension, (mean, rows) in result.items():
        assert mean == pytest.approx(np.mean([row["video_results"] for row in rows])), dimension
        assert header["confidence_intervals"][dimension]["n"] == len(rows)
    assert header["mode"] == summary["vbench"]["stage2"]["mode"] == "miniature"
    assert header["prompts_sha256"] == summary["header"]["prompts_sha256"]
    assert header["n"] == 15


def test_real_clips_are_the_ceiling_of_what_needs_no_network(summary: dict[str, Any]) -> None:
    real = summary["vbench"]["real_clips"]["dimensions"]
    assert real["dynamic_degree"] == real["spatial_relationship"] == 1.0
    assert summary["real_clips"]["flicker"] == 0.0
    assert summary["vbench"]["teacher"]["dimensions"]["spatial_relationship"] < 0.5


def test_deltas_are_paired_and_per_seed(summary: dict[str, Any]) -> None:
    models, deltas = summary["models"], summary["deltas"]
    gain = deltas["stage2-stage1"]["held_out_reward"]
    assert gain["n"] == 12
    assert gain["value"] == pytest.approx(models["stage2"]["held_out_reward"] - models["stage1"]["held_out_reward"])
    assert gain["value"] == 0.0  # the two are the same weights here, and the same noise: nothing else may differ
    assert deltas["reneg-teacher"]["spread"]["n"] == deltas["reneg-handwritten"]["spread"]["n"] == 7
    assert set(deltas["reneg-handwritten"]["held_out_reward"]["seeds"]) == {"1", "2", "3"}


def test_shown_clips_play(untrained_project: Layout, summary: dict[str, Any]) -> None:
    assert len(summary["shown"]) == 3
    for shown in summary["shown"]:
        video, fps = decode(untrained_project.vbench / "samples" / "stage2" / f"{shown['index']}.mp4")
        assert video.shape == (8, 192, 192, 3)
        assert fps == 8
    assert (untrained_project.vbench / "contact_sheet.png").stat().st_size > 1000


def test_shown_clips_tell_what_made_them(untrained_project: Layout, summary: dict[str, Any]) -> None:
    first = summary["shown"][0]
    told = {
        name: read_facts(untrained_project.vbench / "samples" / name / f"{first['index']}.mp4")
        for name in ("stage2", "reneg", "handwritten", "real_clips")
    }
    assert told["stage2"]["prompt"] == first["prompt"]
    assert told["stage2"]["seed"] == Job(first["index"], first["seed"]).noise_seed
    assert told["stage2"]["weights"] == weights(untrained_project.root, ["artifacts/stage2"])
    assert set(told["reneg"]["weights"]) == {"artifacts/foundation", "artifacts/reneg"}
    assert "negative" in told["handwritten"] and "negative" not in told["reneg"]
    assert told["real_clips"]["model"] == "real_clips" and "weights" not in told["real_clips"]


def test_the_scratch_folder_is_gone_and_the_figures_are_numbers(
    untrained_project: Layout, judged: dict[str, float]
) -> None:
    assert not (untrained_project.root / ".work" / "vbench").exists()
    assert np.isfinite(list(judged.values())).all()
    assert {"teacher.probe_all", "stage2.vbench_total", "stage2-stage1.held_out_reward"} <= set(judged)


def test_a_missing_model_names_the_stage_that_makes_it(tmp_path: Any, untrained_project: Layout) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "foundation").symlink_to(untrained_project.foundation.resolve())
    with pytest.raises(UserError, match="dvc repro stage1"):
        vbench.run(SMALL, Layout(tmp_path), SilentLog())


def test_too_few_prompts_for_a_dimension_are_refused_before_sampling(untrained_project: Layout) -> None:
    few = SMALL.model_copy(update={"vbench": SMALL.vbench.model_copy(update={"negative_prompts": 2})})
    with pytest.raises(UserError, match=r"vbench\.negative_prompts takes belongs to"):
        vbench.run(few, untrained_project, SilentLog())


def test_latency_of_every_model(untrained_project: Layout) -> None:
    flat = latency.run(SMALL, untrained_project, SilentLog())
    summary = json.loads((untrained_project.latency / "summary.json").read_text())
    assert flat["speedup_end_to_end"] > 3  # 100 passes against 4
    assert summary["models"]["teacher"]["components"]["denoiser"]["calls"] == 50
    assert summary["models"]["stage2"]["components"]["denoiser"]["calls"] == 4
    assert summary["models"]["stage2"]["components"]["vae"]["calls"] == 1
    assert summary["models"]["teacher"]["batches"]["1"]["n"] == 2
    assert {"device", "dtype", "threads", "resolution", "frames"} <= set(summary["conditions"])
    for name in ("teacher", "pruned", "stage1", "stage2", "reneg", "stage2_light"):
        assert flat[f"{name}.latency_s"] > 0
        assert set(summary["models"][name]["batches"]) == ({"1", "2"} if name in ("teacher", "stage2") else {"1"})
    for name in ("teacher", "stage2", "stage2_light"):
        shares = [part["share"] for part in summary["models"][name]["components"].values()]
        assert sum(shares) == pytest.approx(1.0, abs=0.05)
        assert list(untrained_project.latency.glob(f"{name}_*.json"))
    light = summary["light_decoder"]
    assert {name: timed["n"] for name, timed in light["decoding"].items()} == {"stage2": 4, "stage2_light": 4}
    assert light["speedup_decoding"]["value"] == flat["light_decoder.speedup_decoding"] > 0
    assert light["speedup_end_to_end"]["low"] <= light["speedup_end_to_end"]["high"]
    params = {name: summary["models"][name]["params"] for name in ("stage2", "stage2_light")}
    assert params["stage2_light"]["vae"] < params["stage2"]["vae"]
    assert params["stage2_light"]["denoiser"] == params["stage2"]["denoiser"]
