"""Adapters on a pipeline: strength, whose they are, and what is refused."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextModel

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import VideoUNet
from hummingbird.models.vae import miniature_vae
from hummingbird.params import Lora
from hummingbird.pipelines.loading import load_folder, student_pipeline
from hummingbird.pipelines.style import BASE, base_of, student_folder, wear
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.training.lora import add_adapters, save_adapters

PROMPT = "a red circle moves left"


def small_unet(width: int = 16) -> VideoUNet:
    torch.manual_seed(width)
    unet = VideoUNet(
        in_channels=16,
        out_channels=16,
        down_block_types=("CrossAttnDownBlock3D",),
        up_block_types=("CrossAttnUpBlock3D",),
        block_out_channels=(width,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=96,
        attention_head_dim=8,
        time_cond_proj_dim=16,
        has_mid_block=False,
        temporal_dropout=0.0,
    )
    nn.init.normal_(unet.conv_out.weight, std=0.1)
    return unet


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder: an untrained stage 2, another of other weights, and a model of many steps."""
    root = tmp_path_factory.mktemp("models")
    tokenizer = build_world_tokenizer()
    teacher = TextToVideoPipeline(
        vae=miniature_vae(),
        text_encoder=CLIPTextModel(miniature_text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=small_unet(),
        scheduler=DDIMScheduler(prediction_type="v_prediction"),
        num_frames=2,
    )
    stage2 = student_pipeline(teacher, small_unet(), solver_steps=8)
    stage2.save_pretrained(root / "artifacts/stage2/pipeline")
    teacher.save_pretrained(root / "many")
    shutil.copytree(root / "artifacts/stage2/pipeline", root / "other")
    with torch.no_grad():
        stage2.unet.conv_out.bias.add_(1)
    stage2.unet.save_pretrained(root / "other/unet")
    return root


@pytest.fixture(scope="module")
def adapters(folders: Path) -> Path:
    """Strong ones for stage 2."""
    folder, path = folders / "artifacts/stage2/pipeline", folders / "style.safetensors"
    unet = load_folder(folder).unet
    add_adapters(unet, Lora(rank=4, alpha=4.0))
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    save_adapters(unet, path, {BASE: base_of(folder)})
    return path


def latents(pipeline: TextToVideoPipeline) -> torch.Tensor:
    made = pipeline(PROMPT, output_type="latent")
    assert isinstance(made, torch.Tensor)
    return made


def test_the_scale_goes_from_nothing_to_the_whole_style(folders: Path, adapters: Path) -> None:
    folder = folders / "artifacts/stage2/pipeline"
    plain = latents(load_folder(folder))
    moved = []
    for scale in (0.0, 0.5, 1.0):
        pipeline = load_folder(folder)
        assert wear(pipeline, folder, adapters, scale) is None
        assert not [name for name, _ in pipeline.unet.named_parameters() if "lora" in name]
        moved.append(float((latents(pipeline) - plain).norm()))
    assert moved[0] == 0
    assert 0 < moved[1] < moved[2]


def test_adapters_of_other_weights_or_of_none_are_worn_with_a_warning(
    folders: Path, adapters: Path, tmp_path: Path
) -> None:
    warning = wear(load_folder(folders / "other"), folders / "other", adapters, 1.0)
    assert warning is not None and "made for other weights" in warning
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(adapters), bare)
    folder = folders / "artifacts/stage2/pipeline"
    warning = wear(load_folder(folder), folder, bare, 1.0)
    assert warning is not None and "does not say" in warning


def test_adapters_of_another_network_no_file_and_no_number_are_refused(
    folders: Path, adapters: Path, tmp_path: Path
) -> None:
    folder = folders / "artifacts/stage2/pipeline"
    pipeline = load_folder(folder)
    wide = copy.copy(pipeline)
    wide.register_modules(unet=small_unet(32))
    with pytest.raises(UserError, match="does not fit"):
        wear(wide, folder, adapters, 1.0)
    with pytest.raises(UserError, match="there is no file"):
        wear(pipeline, folder, tmp_path / "none.safetensors", 1.0)
    with pytest.raises(UserError, match="--lora-scale nan"):
        wear(pipeline, folder, adapters, float("nan"))


def test_only_finished_students_take_a_style(folders: Path, tmp_path: Path) -> None:
    layout = Layout(folders)
    assert student_folder(layout, "stage2") == folders / "artifacts/stage2/pipeline"
    assert student_folder(layout, str(folders / "other")) == folders / "other"
    for model, problem in {
        "teacher": "teacher takes no style",
        "pruned": "pruned takes no style",
        "stage3": "unknown model 'stage3'",
        str(folders / "many"): "a model of many steps",
    }.items():
        with pytest.raises(UserError, match=problem):
            student_folder(layout, model)
    with pytest.raises(UserError) as error:
        student_folder(layout, "stage1")
    assert "dvc repro stage1" in error.value.next_step
