"""The stage on a tiny project: what it writes and measures, what it starts from, and what it refuses."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Decoder, Optim, Params
from hummingbird.pipelines.decoders import load_decoder
from hummingbird.runlog import SilentLog
from hummingbird.stages import decoder

SETTINGS = Decoder(
    optim=Optim(steps=3, batch_size=2, learning_rate=1e-2, sample_every=2),
    channels=(4, 8),
    norm_groups=4,
    num_frames=3,
    held_out=3,
    held_out_frames=4,
)

HELD_OUT = {"0", "3", "twice"}  # by the hash of the clips' ids; that of clip 3 is too short to be used
CAPTIONS = ["0", "1", "twice", "3", "4", "5", "twice", "7"]


def params(**changed: object) -> Params:
    return Params(decoder=SETTINGS.model_copy(update=changed))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A VAE of random weights, and latents of eight clips: two with one caption, and one that is short."""
    torch.manual_seed(0)
    layout = Layout(tmp_path_factory.mktemp("project"))
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        scaling_factor=0.5,
    ).save_pretrained(layout.foundation / "vae")
    clips = [
        EncodedClip(f"clip{n}", torch.randn(2 if n == 3 else 4, 4, 8, 8), torch.randn(6, 8), 8.0, CAPTIONS[n])
        for n in range(8)
    ]
    layout.latents.mkdir(parents=True)
    write_latent_shard(layout.latents / "00000.safetensors", clips).write_parquet(layout.latents / "index.parquet")
    save_file({"text": torch.randn(1, 6, 8).half()}, layout.latents / EMPTY_PROMPT)
    return layout


@pytest.fixture(autouse=True)
def _accepted(project: Layout) -> Iterator[None]:
    """After each test, as the stage runner does when a stage has passed its checks."""
    yield
    shutil.rmtree(project.root / ".work", ignore_errors=True)


@pytest.fixture(scope="module")
def measured(project: Layout) -> dict[str, float]:
    return decoder.run(params(), project, SilentLog())


def test_it_writes_a_decoder_that_loads_a_curve_and_sheets(project: Layout, measured: dict[str, float]) -> None:
    light = load_decoder(project.decoder)
    assert light.config.scaling_factor == 0.5 and tuple(light.config.block_out_channels) == (4, 8)
    curve = pl.read_csv(project.curve("decoder"))
    assert len(curve) == 3 and {"loss", "psnr_db", "features", "temporal"} <= set(curve.columns)
    assert sorted(path.name for path in project.sheets("decoder").iterdir()) == ["step_000002.png", "step_000003.png"]


def test_it_measures_both_decoders_on_clips_it_was_not_trained_on(measured: dict[str, float]) -> None:
    assert measured["clips"] == 3  # of four held out
    for name in ("psnr_db", "ssim", "flicker"):
        assert measured[f"{name}_low"] <= measured[name] <= measured[f"{name}_high"]
    assert measured["params"] < measured["original_params"]
    assert measured["gflop_ratio"] == pytest.approx(measured["original_gflop"] / measured["gflop"])
    assert all(math.isfinite(value) for value in measured.values())


def test_no_caption_is_on_both_sides(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    judged: list[str] = []
    loss, pairs = decoder.DecoderDistillation.loss, decoder.DecoderJudge._pairs

    def recording(self: Any, batch: dict[str, Any], step: int) -> Any:
        trained.extend(batch["captions"])
        return loss(self, batch, step)

    def recording_pairs(self: Any, most: int) -> Iterator[Any]:
        for pair in pairs(self, most):
            judged.append(pair[0])
            yield pair

    monkeypatch.setattr(decoder.DecoderDistillation, "loss", recording)
    monkeypatch.setattr(decoder.DecoderJudge, "_pairs", recording_pairs)
    decoder.run(params(), project, SilentLog())
    assert set(judged) == HELD_OUT - {"3"}
    assert set(trained) == set(CAPTIONS) - HELD_OUT


def test_the_same_settings_give_the_same_decoder(project: Layout, measured: dict[str, float]) -> None:
    first = {name: value.clone() for name, value in load_decoder(project.decoder).state_dict().items()}
    decoder.run(params(), project, SilentLog())
    for name, value in load_decoder(project.decoder).state_dict().items():
        assert torch.equal(value, first[name]), name


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"held_out": 7}, "decoder.held_out: 7 captions are to be held out of training, but the clips have only 7"),
        ({"channels": (4, 8, 8)}, "names 3 levels, but the VAE's decoder has 2"),
        ({"channels": (4, 6)}, "has 6, which does not divide into 4 groups"),
        ({"num_frames": 5}, "no clip has the 5 frames"),
    ],
)
def test_settings_that_do_not_fit_are_refused(project: Layout, changed: dict[str, object], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        decoder.run(params(**changed), project, SilentLog())


@pytest.mark.parametrize(("missing", "stage"), [("artifacts", "foundation"), ("data", "encode")])
def test_what_is_missing_names_the_stage_that_makes_it(
    project: Layout, tmp_path: Path, missing: str, stage: str
) -> None:
    for folder in {"artifacts", "data"} - {missing}:
        shutil.copytree(project.root / folder, tmp_path / folder)
    with pytest.raises(UserError) as error:
        decoder.run(params(), Layout(tmp_path), SilentLog())
    assert f"dvc repro {stage}" in error.value.next_step
