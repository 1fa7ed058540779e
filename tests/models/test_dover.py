"""DOVER: the published network's numbers, its sizes, its views and its scores."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hummingbird.data import world
from hummingbird.miniature import dover as recipe
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover, ViewSizes
from hummingbird.models.dover.views import ViewCollector, aesthetic_view, fragments, technical_view
from hummingbird.runlog import SilentLog

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def miniature() -> Dover:
    torch.manual_seed(3)
    return Dover(**CONFIG).eval()


def _clip(seed: int, frames: int = 8, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def _golden(project: Path, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Inputs, weights and outputs of the original network; they are too large for the repository."""
    folder = Path(os.environ.get("HUMMINGBIRD_PARITY", project.parent / "shared/parity"))
    if not (folder / f"{name}.json").is_file():
        pytest.skip(f"no golden data in {folder} (HUMMINGBIRD_PARITY selects another folder)")
    return json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors")


@pytest.mark.parametrize("name", ["dover_small", "dover_mobile_small"])
def test_equals_the_published_network(project: Path, name: str) -> None:
    about, tensors = _golden(project, name)
    swin = about["swin"]
    model = Dover(
        technical={
            "kind": "swin",
            "embed_dim": swin["embed_dim"],
            "depths": swin["depths"],
            "num_heads": swin["num_heads"],
            "window_size": swin["window_size"],
            "fragment_biases": swin["frag_biases"],
            "fragments": swin["window_size"][1:],
        },
        aesthetic={"kind": "convnext", "version": 2 if about["conv_v2"] else 1, **about["conv"]},
        head_hidden=about["head_hidden"],
    ).eval()
    weights = {key.removeprefix("weights/"): value for key, value in tensors.items() if key.startswith("weights/")}
    unused = {key for key in weights if "_backbone.head." in key}  # the classifier that ImageNet pre-training left
    model.load_state_dict({key: value for key, value in weights.items() if key not in unused}, strict=True)
    for case in about["cases"]:
        branch, _, number = case.partition("_")
        suffix = f"_{number}" if number else ""
        with torch.no_grad():
            features = getattr(model, f"{branch}_backbone")(tensors[f"in/{case}"])
            scores = getattr(model, f"{branch}_head")(features)
        torch.testing.assert_close(features, tensors[f"out/{branch}_feat{suffix}"], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(scores, tensors[f"out/{branch}_score{suffix}"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("aesthetic", "technical", "expected"),
    [
        (0.0, 0.0, (0.8998251690449504, 0.18166632075067943, 0.4841478870820616)),
        (-0.05, 0.1, (0.7048350087225613, 0.46369419297105646, 0.5622549405489801)),
        (-0.2, -0.1, (0.04293707189771245, 0.0539254987363167, 0.049360039406164166)),
    ],
)
def test_fusion_with_the_published_constants(
    miniature: Dover, aesthetic: float, technical: float, expected: tuple[float, float, float]
) -> None:
    scores = miniature.fuse(torch.tensor(aesthetic, dtype=torch.float64), torch.tensor(technical, dtype=torch.float64))
    assert tuple(map(float, scores)) == pytest.approx(expected, abs=1e-9)


def test_full_sizes_have_the_published_numbers_of_parameters() -> None:
    femto = {"kind": "convnext", "version": 2, "dims": (48, 96, 192, 384), "depths": (2, 2, 6, 2)}
    with torch.device("meta"):
        full = Dover()
        mobile = Dover(technical=femto, aesthetic=femto, head_hidden=32)
    assert sum(p.numel() for p in full.parameters()) == 56_218_302
    unused_classifiers = 2 * (384 + 1) * 1000
    assert sum(p.numel() for p in mobile.parameters()) == 10_674_546 - unused_classifiers


def test_saved_and_loaded_model_scores_the_same(miniature: Dover, tmp_path: Path) -> None:
    miniature.save_pretrained(tmp_path)
    loaded = Dover.from_pretrained(tmp_path)
    for before, after in zip(miniature.score([_clip(1)]), loaded.score([_clip(1)]), strict=True):
        assert torch.equal(before, after)
    assert sum(p.numel() for p in loaded.parameters()) * 2 < 1_000_000  # bytes in half precision


def test_score_of_a_clip_does_not_depend_on_its_neighbours(miniature: Dover) -> None:
    alone = miniature.score([_clip(5)])
    among = miniature.score([_clip(4), _clip(5), _clip(6)])
    for one, many in zip(alone, among, strict=True):
        assert float(one[0]) == pytest.approx(float(many[1]), abs=1e-5)


def test_unknown_backbone_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown backbone 'resnet'"):
        Dover(technical={"kind": "resnet"})


def test_fragments_come_from_their_own_cells_and_stay_together_over_time() -> None:
    sizes = ViewSizes(grid=3, fragment=4)
    height, width = 30, 45
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows, columns, rows * width + columns]).float()
    out = fragments(place[:, None].repeat(1, 5, 1, 1), sizes, np.random.default_rng(0))
    assert out.shape == (3, 5, 12, 12)
    assert torch.equal(out[:, 0], out[:, 4])
    for i in range(3):
        for j in range(3):
            piece = out[:, 0, i * 4 : i * 4 + 4, j * 4 : j * 4 + 4]
            top, left = int(piece[0, 0, 0]), int(piece[1, 0, 0])
            assert 10 * i <= top <= 10 * i + 6 and 15 * j <= left <= 15 * j + 11
            assert torch.equal(piece, place[:, top : top + 4, left : left + 4])


def test_views_have_their_sizes_and_short_clips_repeat() -> None:
    sizes = ViewSizes(aesthetic_frames=4, aesthetic_size=16, technical_clips=2, technical_frames=6, grid=2, fragment=8)
    video = _clip(0, frames=3, height=10, width=24)
    assert aesthetic_view(video, sizes).shape == (3, 4, 16, 16)
    first, again, other = (technical_view(video, sizes, seed) for seed in (1, 1, 2))
    assert first.shape == (2, 3, 6, 16, 16)
    assert torch.equal(first[:, :, :3], first[:, :, 3:])
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(("frames", "height", "width"), [(9, 70, 90), (3, 20, 50)], ids=["large", "small and short"])
def test_views_collected_frame_by_frame_are_those_of_the_whole_video(frames: int, height: int, width: int) -> None:
    sizes = ViewSizes(aesthetic_frames=4, aesthetic_size=16, technical_clips=2, technical_frames=3, grid=3, fragment=8)
    video = _clip(2, frames, height, width)
    collector = ViewCollector(frames, (height, width), sizes, seed=5)
    for number, frame in enumerate(video):
        collector.add(number, frame)
    aesthetic, technical = collector.views()
    assert torch.equal(aesthetic, aesthetic_view(video, sizes))
    assert torch.equal(technical, technical_view(video, sizes, seed=5))


def test_a_frame_that_is_missing_from_a_view_is_an_error() -> None:
    collector = ViewCollector(40, (64, 64), ViewSizes(grid=2, fragment=8), seed=0)
    collector.add(0, _clip(0, 1, 64, 64)[0])
    with pytest.raises(ValueError, match="were never added"):
        collector.views()


def test_training_batches_depend_on_the_step_alone_and_spoil_their_second_half(miniature: Dover) -> None:
    good = np.stack([world.make_clip(1, index).video for index in range(4)])
    sampler = recipe.PairSampler(miniature, good, seed=5)
    first, again, other = sampler(7), sampler(7), sampler(8)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    labels = first[2]
    assert labels[: recipe.PAIRS].all() and not labels[recipe.PAIRS :].any()
    assert np.array_equal(good, np.stack([world.make_clip(1, index).video for index in range(4)]))  # left as they were


def test_a_stem_that_starts_from_frequencies_keeps_brightness_and_detail_apart() -> None:
    stem = torch.nn.Conv3d(3, 16, (2, 4, 4), stride=(2, 4, 4))
    recipe.start_from_frequencies(stem)
    plain = torch.ones(1, 3, 2, 4, 4)
    response = stem(plain).flatten().abs()
    assert response[0] > 0.01 and response[1:].max() < 1e-5
    checks = plain * torch.tensor([1.0, -1.0]).repeat(2)
    assert stem(checks).flatten()[0].abs() < 1e-5 and stem(checks).abs().max() > 0.1


def test_calibration_puts_the_boundary_between_good_and_bad() -> None:
    raw = torch.cat([torch.linspace(2, 4, 50), torch.linspace(-1, 2.5, 50)])
    good = (torch.arange(100) < 50).float()
    mean, deviation = recipe._platt(raw, good)
    assert 1.9 < mean < 2.6 and deviation > 0
    assert (((raw - mean) / deviation).sigmoid() > 0.5).float().eq(good).float().mean() > 0.9


def test_the_recipe_runs_and_saves_a_model_that_loads(tmp_path: Path) -> None:
    figures = recipe.train(tmp_path / "dover", seed=1, budget=0.005, work=tmp_path / "work", log=SilentLog())
    assert figures["n"] == 32 and 0 <= figures["recall"] <= 1
    loaded = Dover.from_pretrained(tmp_path / "dover")
    assert loaded.config.technical_scale[1] != pytest.approx(0.07355)
    assert all(torch.isfinite(part).all() for part in loaded.float().score([_clip(1)]))
