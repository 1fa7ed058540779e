"""Negative embeddings as files: read in both forms, refused where they do not fit, taken by other pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.errors import UserError
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import miniature_unet
from hummingbird.models.vae import miniature_vae
from hummingbird.pipelines.loading import student_pipeline
from hummingbird.pipelines.negative import PUBLIC, convert_negative, load_negative, save_negative, use_negative
from hummingbird.pipelines.text_to_video import TextToVideoPipeline

PROMPT = "a red circle moves left"


@pytest.fixture(scope="module")
def teacher() -> TextToVideoPipeline:
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    tokenizer = build_world_tokenizer()
    unet = miniature_unet(96)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    text_encoder = CLIPTextModel(miniature_text_config(tokenizer)).eval()
    pipe = TextToVideoPipeline(miniature_vae().eval(), text_encoder, tokenizer, unet.eval(), miniature_scheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("shape", PUBLIC)
def test_the_public_files_are_read_and_converted(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A public file is a pickle of nothing but the tensor."""
    embedding = torch.randn(1, *shape)
    torch.save(embedding, tmp_path / "reneg_emb.bin")
    assert torch.equal(load_negative(tmp_path / "reneg_emb.bin"), embedding)
    line = convert_negative(tmp_path / "reneg_emb.bin", tmp_path / "reneg.safetensors")
    assert PUBLIC[shape][1] in line and f"{shape[0]} tokens of width {shape[1]}" in line
    assert torch.equal(load_negative(tmp_path / "reneg.safetensors"), embedding)
    assert list(load_file(tmp_path / "reneg.safetensors")) == ["negative_prompt_embeds"]


def test_the_command_converts(tmp_path: Path) -> None:
    torch.save(torch.randn(1, 77, 1024), tmp_path / "sd2.1_reneg_emb.bin")
    words = ["checkpoints", "negative", str(tmp_path / "sd2.1_reneg_emb.bin"), "--out"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "x.safetensors")])
    assert done.exit_code == 0, done.output
    assert "OpenCLIP ViT-H/14" in done.output and (tmp_path / "x.safetensors").is_file()
    refused = CliRunner().invoke(app, [*words, str(tmp_path / "x.bin")])
    assert refused.exit_code == 2 and "ends in .safetensors" in refused.stderr


def test_other_forms_of_a_tensor_are_taken(tmp_path: Path) -> None:
    flat = torch.randn(7, 5).half()
    torch.save({"emb": flat}, tmp_path / "a.pt")
    save_file({"some_name": flat}, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        found = load_negative(tmp_path / name)
        assert found.dtype == torch.float32 and torch.equal(found, flat.float()[None])


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no file"),
        (b"", "cannot be read"),
        (b"half a pick", "cannot be read"),
        (Harmful(), "cannot be read"),
        ({"a": torch.ones(1, 2, 3), "b": torch.ones(1, 2, 3)}, "holds no negative embedding"),
        (torch.ones(1, 2, 3, dtype=torch.int64), "holds no negative embedding"),
        (torch.ones(3), "holds no negative embedding"),
        ([1.0], "holds no negative embedding"),
        (torch.ones(2, 4, 3), "holds several embeddings"),
        (torch.full((1, 4, 3), float("nan")), "numbers that are not finite"),
    ],
)
def test_what_is_no_embedding_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.bin"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(UserError, match=problem):
        load_negative(file)
    assert not (tmp_path / "touched").exists()


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_negative(torch.ones(1, 4, 3), tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[:-5])
    with pytest.raises(UserError, match="cannot be read"):
        load_negative(tmp_path / "x.safetensors")


def test_it_changes_what_a_guided_model_makes(teacher: TextToVideoPipeline) -> None:
    arguments: Any = {"seeds": [1], "num_inference_steps": 2, "num_frames": 2, "output_type": "latent"}
    plain = teacher([PROMPT], **arguments)
    embedding = torch.randn(1, 24, 96)
    use_negative(teacher, embedding, "x.bin")
    used = teacher([PROMPT], **arguments)
    teacher.negative_prompt_embeds = None
    assert not torch.allclose(plain, used)
    assert torch.equal(used, teacher([PROMPT], negative_prompt_embeds=embedding, **arguments))


def test_a_wrong_encoder_is_named(teacher: TextToVideoPipeline) -> None:
    with pytest.raises(UserError, match=r"width 4096, for T5-v1\.1-XXL, but this model reads text of width 96"):
        use_negative(teacher, torch.zeros(1, 120, 4096), "pixart.bin")
    with pytest.raises(UserError, match=r"width 768, for CLIP ViT-L/14"):
        use_negative(teacher, torch.zeros(1, 77, 768), "sd1.5.bin")
    with pytest.raises(UserError, match="has 77 tokens, but the prompts of this model have 24"):
        use_negative(teacher, torch.zeros(1, 77, 96), "x.bin")
    assert teacher.negative_prompt_embeds is None


def test_a_student_says_why_not_and_what_it_has_instead(teacher: TextToVideoPipeline) -> None:
    student = student_pipeline(teacher, teacher.unet)
    with pytest.raises(UserError, match="no unconditional pass, for the guidance is in its weights") as caught:
        use_negative(student, torch.zeros(1, 24, 96), "x.bin")
    assert "stage 2" in caught.value.next_step


def test_a_pipeline_of_diffusers_takes_the_file_of_the_stage(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    tokenizer = build_world_tokenizer()
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4),
        text_encoder=CLIPTextModel(miniature_text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 8),
            norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=96,
            attention_head_dim=4,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
    )
    pipe.set_progress_bar_config(disable=True)
    save_negative(torch.randn(1, 24, 96), tmp_path / "x.safetensors")
    images = [
        pipe(
            PROMPT,
            negative_prompt_embeds=negative,
            num_inference_steps=2,
            output_type="pt",
            generator=torch.Generator().manual_seed(0),
        ).images
        for negative in (load_file(tmp_path / "x.safetensors")["negative_prompt_embeds"], None)
    ]
    assert images[0].isfinite().all() and not torch.allclose(*images)
