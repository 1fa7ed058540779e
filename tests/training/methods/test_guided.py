"""The teacher under guidance, what it and the student are told, and who gets gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hummingbird.params import Lora
from hummingbird.training.lora import add_adapters
from hummingbird.training.methods.cfg_distillation import CfgDistillation
from hummingbird.training.methods.consistency import ConsistencyDistillation

KINDS = {"cfg": CfgDistillation, "consistency": ConsistencyDistillation}
TIMESTEPS = torch.tensor([19, 519, 999])
SCALES = torch.tensor([1.0, 3.0, 5.0])


def ask(teacher: Any, batch: dict[str, Any]) -> torch.Tensor:
    found: torch.Tensor = teacher(batch["latents"], TIMESTEPS, batch["text"], SCALES, batch["fps"])
    return found


def test_the_guided_prediction_is_both_passes_mixed(pair: Any) -> None:
    batch = pair.batch()
    guided = ask(pair.teacher(), batch)
    with torch.no_grad():
        cond = pair.unet(batch["latents"], TIMESTEPS, batch["text"], fps=batch["fps"]).sample
        uncond = pair.unet(batch["latents"], TIMESTEPS, pair.null_text.expand(3, -1, -1), fps=batch["fps"]).sample
    scale = SCALES.view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(guided, uncond + scale * (cond - uncond), atol=1e-5, rtol=1e-5)
    # the other convention, cond + w (cond - uncond), is the same with w = g - 1
    torch.testing.assert_close(guided, cond + (scale - 1) * (cond - uncond), atol=1e-5, rtol=1e-5)


def test_the_teacher_infers_and_its_answer_serves_autograd(pair: Any, told: Any) -> None:
    teacher, asked = pair.teacher(), told(pair.unet)
    guided = ask(teacher, pair.batch())
    assert asked.inference == [True]
    assert not guided.is_inference()
    factor = torch.ones((), requires_grad=True)
    (factor * guided).sum().backward()
    torch.testing.assert_close(factor.grad, guided.sum())


def test_a_teacher_of_low_precision_answers_in_float32(pair: Any) -> None:
    exact = ask(pair.teacher(), pair.batch())
    teacher = pair.teacher(precision="bf16")
    assert {parameter.dtype for parameter in pair.unet.parameters()} == {torch.bfloat16}
    rough = ask(teacher, pair.batch())
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert float((rough - exact).norm() / exact.norm()) < 0.1


def test_the_teachers_precision_is_its_own_under_autocast(pair: Any) -> None:
    teacher = pair.teacher()
    exact = ask(teacher, pair.batch())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ask(teacher, pair.batch()), exact)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("condition", "teacher_fps", "student_fps"), [("clip", 12, 12), ("released", 16, 8)])
def test_the_frame_rates_that_the_networks_are_told(
    pair: Any, told: Any, kind: str, condition: str, teacher_fps: float, student_fps: float
) -> None:
    method = KINDS[kind](pair.student, pair.teacher(fps_condition=condition), pair.schedule, guidance=(2.0, 5.0))
    teacher, student = told(pair.unet), told(pair.student)
    method.loss(pair.batch(2), 0)
    assert teacher.fps == [[teacher_fps, teacher_fps, student_fps, student_fps]]  # without the prompt, and with it
    assert student.fps and all(rates == [student_fps, student_fps] for rates in student.fps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=4.0)], ids=["whole", "lora"])
def test_every_trained_parameter_gets_a_gradient_and_the_teacher_none(pair: Any, kind: str, lora: Lora | None) -> None:
    if lora is not None:
        add_adapters(pair.student, lora, whole=("time_embedding.cond_proj",))
    method = KINDS[kind](pair.student, pair.teacher(), pair.schedule, guidance=(2.0, 5.0))
    method.loss(pair.batch(), 0)[0].backward()
    assert all(parameter.grad is None for parameter in pair.unet.parameters())
    for name, parameter in pair.student.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        else:
            assert lora is not None and "lora_" not in name
            assert parameter.grad is None
    assert pair.student.time_embedding.cond_proj.weight.grad.abs().sum() > 0
