"""Adapters from latents: trained, resumed and written; clips of other encoders are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from evaluation.untrained import save_project, save_student
from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.errors import UserError
from hummingbird.finetune.tuning import tune
from hummingbird.params import Finetune, Lora, Optim, Params, Training
from hummingbird.pipelines.style import BASE, base_of
from hummingbird.runlog import SilentLog

OPTIM = Optim(steps=8, batch_size=2, learning_rate=1e-2, ema_decay=0.5)
PARAMS = Params(
    finetune=Finetune(optim=OPTIM, lora=Lora(rank=2, alpha=2.0), num_frames=2),
    training=Training(checkpoint_every_s=1e-9),
)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = save_project(tmp_path_factory.mktemp("student"))
    save_student(layout)
    return layout.stage1 / "pipeline"


def write_latents(folder: Path, channels: int = 16, width: int = 96) -> Path:
    folder.mkdir()
    torch.manual_seed(1)
    clips = [EncodedClip(f"c{n}", torch.randn(3, channels, 4, 4), torch.randn(4, width), 8.0, "") for n in range(4)]
    write_latent_shard(folder / "0.safetensors", clips).write_parquet(folder / "index.parquet")
    save_file({"text": torch.zeros(1, 4, width)}, folder / EMPTY_PROMPT)
    return folder


def test_a_stopped_tuning_goes_on_to_the_same_file(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watching: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    latents = write_latents(tmp_path / "latents")
    history = tune(PARAMS, student, latents, tmp_path / "whole.safetensors", SilentLog())
    assert len(history) == OPTIM.steps
    with pytest.raises(watching.Stopped):
        tune(PARAMS, student, latents, tmp_path / "cut.safetensors", watching(stop_at=5))
    assert not (tmp_path / "cut.safetensors").exists()
    with pytest.raises(watching.Stopped):  # a file of the same name elsewhere is another training
        tune(PARAMS, student, latents, tmp_path / "other/cut.safetensors", watching(stop_at=0))
    rest = watching()
    resumed = tune(PARAMS, student, latents, tmp_path / "cut.safetensors", rest)
    assert rest.steps == [5, 6, 7]
    assert [row["loss"] for row in resumed] == [row["loss"] for row in history]
    whole, cut = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert any(float(value.abs().max()) > 0 for name, value in whole.items() if ".lora_B." in name)
    with safe_open(tmp_path / "whole.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata[BASE] == base_of(student)
    assert json.loads(metadata["lora_adapter_metadata"])["unet.lora_alpha"] == 2.0


def test_clips_of_other_encoders_or_too_short_are_refused(student: Path, tmp_path: Path) -> None:
    for name, sizes in {"vae": {"channels": 4}, "text": {"width": 32}}.items():
        latents = write_latents(tmp_path / name, **sizes)
        with pytest.raises(UserError, match="takes latents of 16 channels and text 96 wide") as error:
            tune(PARAMS, student, latents, tmp_path / "x.safetensors", SilentLog())
        assert "profile use" in error.value.next_step
    long = PARAMS.model_copy(update={"finetune": PARAMS.finetune.model_copy(update={"num_frames": 4})})
    with pytest.raises(UserError, match="no clip has the 4 frames"):
        tune(long, student, write_latents(tmp_path / "short"), tmp_path / "x.safetensors", SilentLog())
    assert pl.read_parquet(tmp_path / "short/index.parquet")["num_frames"].to_list() == [3] * 4
