"""Generation: reproducible by seed, saved and loaded whole, refusing what makes no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.pruning import hummingbird_plan, prune
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import miniature_unet
from hummingbird.models.vae import miniature_vae
from hummingbird.pipelines.loading import load_pipeline, student_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline

PROMPTS = ["a large plain red circle stays still on sea", "a small dotted blue ring moves slowly up on sand"]


@pytest.fixture(scope="module")
def teacher() -> TextToVideoPipeline:
    torch.manual_seed(0)
    tokenizer = build_world_tokenizer()
    unet = miniature_unet(96)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    pipe = TextToVideoPipeline(
        miniature_vae().eval(),
        CLIPTextModel(miniature_text_config(tokenizer)).eval(),
        tokenizer,
        unet.eval(),
        miniature_scheduler(),
        num_inference_steps=3,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def student(teacher: TextToVideoPipeline) -> TextToVideoPipeline:
    return student_pipeline(teacher, prune(teacher.unet, hummingbird_plan(2, mid_block=False)))


@pytest.mark.parametrize("which", ["teacher", "student"])
def test_a_video_depends_on_its_prompt_and_seed_alone(which: str, request: pytest.FixtureRequest) -> None:
    pipe = request.getfixturevalue(which)
    both = pipe(PROMPTS, seeds=[5, 6])
    assert both.shape == (2, 8, 32, 32, 3)
    assert both.dtype == np.uint8
    alone = pipe(PROMPTS[1], seeds=6)
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1
    assert np.abs(both[1].astype(int) - pipe(PROMPTS[1], seeds=7)[0]).max() > 1


@pytest.mark.parametrize("which", ["teacher", "student"])
def test_a_saved_pipeline_loads_and_generates_the_same(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pipe = request.getfixturevalue(which)
    pipe.save_pretrained(tmp_path)
    loaded = TextToVideoPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config.num_inference_steps == pipe.config.num_inference_steps
    difference = pipe(PROMPTS, seeds=[1, 2]).astype(int) - loaded(PROMPTS, seeds=[1, 2])
    assert np.abs(difference).max() <= 1  # one grey level: kernels differ with the alignment of the weights in memory


def test_number_of_frames_and_steps_can_be_chosen(student: TextToVideoPipeline) -> None:
    assert student(PROMPTS[0], num_frames=5, num_inference_steps=2).shape == (1, 5, 32, 32, 3)


def test_a_negative_embedding_is_used_where_set(teacher: TextToVideoPipeline) -> None:
    plain = teacher(PROMPTS, seeds=[1, 2])
    null = teacher.encode([""]).detach()
    assert np.array_equal(plain, teacher(PROMPTS, seeds=[1, 2], negative_prompt_embeds=null))
    teacher.negative_prompt_embeds = null + 3
    try:
        assert not np.array_equal(plain, teacher(PROMPTS, seeds=[1, 2]))
    finally:
        teacher.negative_prompt_embeds = None
    assert not np.array_equal(plain, teacher(PROMPTS, seeds=[1, 2], negative_prompt="blurry noisy"))


def test_a_student_takes_no_negative_prompt(student: TextToVideoPipeline) -> None:
    with pytest.raises(ValueError, match="no unconditional pass"):
        student(PROMPTS[0], negative_prompt="blurry")


@pytest.mark.parametrize(("prompt", "word"), [("  ", "empty"), ("qwzx vvkj", "none of the words")])
def test_prompts_that_say_nothing_are_refused(teacher: TextToVideoPipeline, prompt: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        teacher(prompt)


def test_missing_and_misspelt_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro foundation"):
        load_pipeline(Layout(tmp_path), "teacher")
    with pytest.raises(UserError, match="dvc repro stage2"):
        load_pipeline(Layout(tmp_path), "stage2")
    with pytest.raises(UserError, match="did you mean 'teacher'"):
        load_pipeline(Layout(tmp_path), "teecher")
