"""Stage 1 as a whole: its options, what it writes, and that a stopped run goes on as if it had not been."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import VideoUNet
from hummingbird.models.vae import miniature_vae
from hummingbird.params import Lora, Optim, Params, Stage1, Training
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import SilentLog
from hummingbird.stages import stage1

PHASE = Optim(steps=2, batch_size=2, learning_rate=1e-3, ema_decay=0.5)
STILL = Optim(steps=1, batch_size=2, learning_rate=1e-9)  # leaves the weights as they are
EVERY_STEP = Training(checkpoint_every_steps=1)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project with a teacher of a few channels, and latents of random clips."""
    torch.manual_seed(0)
    unet = VideoUNet(
        in_channels=16,
        out_channels=16,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(16, 16),
        norm_num_groups=4,
        cross_attention_dim=96,
        attention_head_dim=8,
        layers_per_block=2,
        temporal_dropout=0.1,
    )
    for parameter in unet.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.1)
    tokenizer = build_world_tokenizer()
    text_encoder = CLIPTextModel(miniature_text_config(tokenizer))
    found = Layout(tmp_path)
    pipeline = TextToVideoPipeline(miniature_vae(), text_encoder, tokenizer, unet, miniature_scheduler())
    pipeline.save_pretrained(found.foundation)
    found.latents.mkdir(parents=True)
    clips = [EncodedClip(f"c{n}", torch.randn(8, 16, 4, 4), torch.randn(24, 96), 8.0, f"clip {n}") for n in range(6)]
    write_latent_shard(found.latents / "0.safetensors", clips).write_parquet(found.latents / "index.parquet")
    save_file({"text": torch.randn(1, 24, 96)}, found.latents / EMPTY_PROMPT)
    return found


def params(training: Training = EVERY_STEP, **options: Any) -> Params:
    phases = {"distillation": PHASE, "consistency": PHASE}
    return Params(training=training, stage1=Stage1(**{**phases, "num_frames": 3, "guidance_dim": 8, **options}))


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = VideoUNet.from_pretrained(folder).state_dict()
    return found


def distance(layout: Layout) -> float:
    """How far training has moved any weight of the student from the pruned teacher's."""
    before, after = weights(layout.stage1 / "pruned"), weights(layout.stage1 / "pipeline/unet")
    assert list(before) == list(after)
    return max(float((after[name] - value).abs().max()) for name, value in before.items())


def test_all_options_together_write_a_plain_student(layout: Layout) -> None:
    options = params(
        Training(checkpoint_every_steps=1, gradient_checkpointing=True),
        lora=Lora(rank=4, alpha=4.0),
        feature_weight=0.1,
        dynamic_rescale=True,
        fps_condition="released",
        teacher_precision="bf16",
        target_ema_decay=0.9,
    )
    results = stage1.run(options, layout, SilentLog())
    whole = weights(layout.stage1 / "pipeline/unet")
    assert not [name for name in whole if "lora" in name or "base_layer" in name]
    assert results["params"] == sum(value.numel() for value in whole.values())
    assert distance(layout) > 1e-4
    assert whole[f"{stage1.GUIDANCE}.weight"].abs().max() > 0
    curve = pl.read_csv(layout.curve("stage1"))
    assert curve["phase"].to_list() == ["distillation"] * 2 + ["consistency"] * 2
    assert curve["features"].drop_nulls().len() == 2


def test_a_stopped_run_goes_on_bit_for_bit_and_its_averaged_target_with_it(layout: Layout, watching: Any) -> None:
    options = params(distillation=None, target_ema_decay=0.9)
    stage1.run(options, layout, SilentLog())
    whole = weights(layout.stage1 / "pipeline/unet")
    shutil.rmtree(layout.root / ".work")
    with pytest.raises(watching.Stopped):
        stage1.run(options, layout, watching(stop_at=1))
    rest = watching()
    stage1.run(options, layout, rest)
    assert rest.steps == [1]
    for name, value in weights(layout.stage1 / "pipeline/unet").items():
        assert torch.equal(value, whole[name]), name


@pytest.mark.parametrize(("start", "phase"), [("teacher", "distillation"), ("random", "consistency")])
def test_the_student_starts_from_the_teacher_or_from_nothing(layout: Layout, start: str, phase: str) -> None:
    """``pruned`` holds the teacher's weights either way. A phase may be left out."""
    phases = {"distillation": None, "consistency": None, phase: STILL}
    stage1.run(params(start=start, **phases), layout, SilentLog())
    assert (distance(layout) > 1e-2) == (start == "random")
    teacher, pruned = weights(layout.foundation / "unet"), weights(layout.stage1 / "pruned")
    assert torch.equal(pruned["conv_in.weight"], teacher["conv_in.weight"])
    assert set(pl.read_csv(layout.curve("stage1"))["phase"]) == {phase}


def test_what_could_train_nothing_is_refused(layout: Layout) -> None:
    with pytest.raises(UserError, match="nothing to train"):
        stage1.run(params(distillation=None, consistency=None), layout, SilentLog())
    with pytest.raises(UserError, match="random weights"):
        stage1.run(params(start="random", lora=Lora()), layout, SilentLog())
