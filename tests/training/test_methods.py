"""What each objective trains and what it leaves alone, on untrained networks of the miniature's shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModel

from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.pruning import hummingbird_plan, prune
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import VideoUNet, miniature_unet
from hummingbird.models.vae import miniature_vae
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.training.methods.cfg_distillation import CfgDistillation
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.methods.reneg import ReNeg
from hummingbird.training.methods.reward import RewardFeedback, RewardMixture, augment


class Brightness:
    """A reward that wants bright pictures and remembers what it was shown."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def score(self, pictures: Tensor, prompts: list[str]) -> Tensor:
        self.prompts = prompts
        return pictures.flatten(1).mean(dim=1)


@pytest.fixture
def pipeline() -> TextToVideoPipeline:
    torch.manual_seed(0)
    tokenizer = build_world_tokenizer()
    text_encoder = CLIPTextModel(miniature_text_config(tokenizer)).requires_grad_(False).eval()
    unet = miniature_unet(96)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    pipe = TextToVideoPipeline(
        miniature_vae().requires_grad_(False), text_encoder, tokenizer, unet, miniature_scheduler()
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def batch(size: int = 3) -> dict[str, Any]:
    g = torch.Generator().manual_seed(5)
    return {
        "latents": torch.randn(size, 16, 8, 4, 4, generator=g),
        "text": torch.randn(size, 24, 96, generator=g),
        "fps": torch.full((size,), 8.0),
        "captions": [f"caption {i}" for i in range(size)],
    }


def parts(pipeline: TextToVideoPipeline) -> tuple[VideoUNet, GuidedTeacher, NoiseSchedule]:
    student = prune(pipeline.unet, hummingbird_plan(2, mid_block=False))
    return student, GuidedTeacher(pipeline.unet, pipeline.encode([""])), NoiseSchedule(pipeline.scheduler)


def test_the_guided_teacher_is_both_passes_mixed(pipeline: TextToVideoPipeline) -> None:
    _, teacher, _ = parts(pipeline)
    b, t = batch(), torch.tensor([19, 519, 999])
    scales = torch.tensor([1.0, 3.0, 5.0])
    guided = teacher(b["latents"], t, b["text"], scales, b["fps"])
    with torch.no_grad():
        cond = pipeline.unet(b["latents"], t, b["text"], fps=b["fps"]).sample
        uncond = pipeline.unet(b["latents"], t, pipeline.encode([""]).expand(3, -1, -1), fps=b["fps"]).sample
    torch.testing.assert_close(guided, uncond + scales.view(-1, 1, 1, 1, 1) * (cond - uncond), atol=1e-5, rtol=1e-5)
    # the other convention, cond + w (cond - uncond), is the same with w = g - 1
    w = (scales - 1).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(guided, cond + w * (cond - uncond), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cfg", "consistency"])
def test_distillation_gives_every_student_parameter_a_gradient_and_the_teacher_none(
    pipeline: TextToVideoPipeline, kind: str
) -> None:
    student, teacher, schedule = parts(pipeline)
    method_of = {"cfg": CfgDistillation, "consistency": ConsistencyDistillation}[kind]
    method = method_of(student, teacher, schedule, guidance=(2.0, 5.0))
    torch.manual_seed(1)
    loss, _ = method.loss(batch(), 0)
    loss.backward()
    assert all(p.grad is None for p in teacher.unet.parameters())
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert student.time_embedding.cond_proj.weight.grad.abs().sum() > 0


def test_a_student_that_is_the_teacher_has_no_distillation_loss(pipeline: TextToVideoPipeline) -> None:
    """At guidance 1 the guided prediction is the conditional one, which an unpruned copy gives exactly."""
    teacher = GuidedTeacher(pipeline.unet, pipeline.encode([""]))
    full = type(hummingbird_plan(2, mid_block=True))(down=((0, 1),) * 2, up=((0, 1, 2),) * 2, mid_block=True)
    copy = prune(pipeline.unet, full).eval()
    method = CfgDistillation(copy, teacher, NoiseSchedule(pipeline.scheduler), guidance=(1.0, 1.0))
    assert float(method.loss(batch(), 0)[0].detach()) < 1e-9


def test_the_reward_reaches_the_student_through_the_decoder(pipeline: TextToVideoPipeline) -> None:
    student, teacher, schedule = parts(pipeline)
    image, video = Brightness(), Brightness()
    mixture = RewardMixture(image, video, image_weight=1.0, video_weight=2.0, image_frames=2)
    distillation = ConsistencyDistillation(student, teacher, schedule, guidance=(2.0, 5.0))
    method = RewardFeedback(distillation, pipeline.vae, mixture, reward_batch=2)
    torch.manual_seed(1)
    loss, figures = method.loss(batch(), 0)
    loss.backward()
    assert image.prompts == ["caption 0", "caption 0", "caption 1", "caption 1"]
    assert video.prompts == ["caption 0", "caption 1"]
    expected = figures["consistency"] - figures["image_reward"] - 2 * figures["video_reward"]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert all(p.grad is None for p in pipeline.vae.parameters())
    assert student.conv_out.weight.grad.abs().sum() > 0


def test_reneg_trains_the_embedding_alone_and_only_by_its_guided_step(pipeline: TextToVideoPipeline) -> None:
    pipeline.unet.requires_grad_(False)
    mixture = RewardMixture(Brightness(), Brightness(), image_weight=1.0, video_weight=1.0, image_frames=2)
    method = ReNeg(pipeline, mixture, guidance_scale=3.0, steps=4, late_steps=2)
    torch.testing.assert_close(method.negative.embedding, pipeline.encode([""]))
    torch.manual_seed(1)
    method.loss(batch(2), 0)[0].backward()
    gradient = method.negative.embedding.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert [p for p in method.trainable.parameters()] == [method.negative.embedding]
    # without guidance the negative embedding plays no part, so it must get nothing
    unguided = ReNeg(pipeline, mixture, guidance_scale=1.0, steps=4, late_steps=2)
    torch.manual_seed(1)
    unguided.loss(batch(2), 0)[0].backward()
    assert unguided.negative.embedding.grad is not None
    assert float(unguided.negative.embedding.grad.abs().max()) < 1e-7


def test_augmentation_keeps_the_range_and_the_picture() -> None:
    torch.manual_seed(0)
    video = torch.rand(2, 4, 3, 32, 32).round()
    out = augment(video)
    assert out.shape == video.shape
    assert float(out.min()) >= 0 and float(out.max()) <= 1
    torch.testing.assert_close(augment(video, crop=0.0, noise=0.0), video, atol=1e-5, rtol=0)
