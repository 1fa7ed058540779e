"""Consistency training on clips: where its target lies, and what gets a gradient."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule, pseudo_huber
from hummingbird.training.methods.consistency_tuning import ConsistencyTuning

GRID = 8  # places, 125 timesteps apart


class Student(nn.Module):
    """Predicts the clean latents; remembers what it was asked."""

    def __init__(self, guidance_dim: int | None = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(time_cond_proj_dim=guidance_dim)
        self.weight = nn.Parameter(torch.tensor(0.3))
        self.asked: list[tuple[Tensor, Tensor, bool, Tensor | None]] = []

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor, timestep_cond: Tensor | None, fps: Tensor) -> Any:
        self.asked.append((noisy, timesteps, torch.is_grad_enabled(), timestep_cond))
        return SimpleNamespace(sample=self.weight * noisy)


def tuning(student: Student, steps: int = 40) -> ConsistencyTuning:
    schedule = NoiseSchedule(DDIMScheduler(prediction_type="sample"))
    return ConsistencyTuning(
        student,  # type: ignore[arg-type]
        schedule,
        guidance=(2.5, 5.0),
        solver_steps=GRID,
        steps=steps,
    )


def batch(size: int = 64) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"latents": torch.randn(size, 2, 3, 4, 4), "text": torch.zeros(size, 2, 3), "fps": torch.full((size,), 8.0)}


def test_at_first_the_clip_itself_is_the_target() -> None:
    student, clips = Student(), batch()
    loss, _ = tuning(student).loss(clips, 0)
    assert len(student.asked) == 1
    noisy, timesteps, _, _ = student.asked[0]
    assert set(timesteps.tolist()) == {124 + 125 * place for place in range(GRID)}
    assert loss.item() == pytest.approx(float(pseudo_huber(0.3 * noisy, clips["latents"])), rel=1e-3)  # c_out is 1


@pytest.mark.parametrize(
    ("step", "lower"),  # of places 1..8; 0 is the clip
    [(10, [0, 1, 1, 2, 2, 3, 3, 4]), (20, [0, 1, 2, 3, 3, 4, 5, 6]), (39, [0, 1, 2, 3, 4, 5, 6, 7])],
)
def test_the_target_comes_nearer_until_it_is_one_place_below(step: int, lower: list[int]) -> None:
    student = Student()
    tuning(student).loss(batch(), step)
    (noisy, timesteps, graded, _), (below, target_timesteps, target_graded, _) = student.asked
    expected = [max(lower[t // 125], 1) * 125 - 1 for t in timesteps.tolist()]
    assert target_timesteps.tolist() == expected
    assert graded and not target_graded
    same = timesteps == target_timesteps
    assert same.any() and torch.equal(noisy[same], below[same])  # the same noise


def test_a_student_that_knows_the_clips_has_no_loss() -> None:
    class Knows(Student):
        def forward(self, noisy: Tensor, *args: Any, **kwargs: Any) -> Any:
            return SimpleNamespace(sample=clips["latents"] + 0 * self.weight)

    clips = batch()
    for step in (0, 10, 39):
        loss, _ = tuning(Knows()).loss(clips, step)
        assert float(loss) < 1e-6


def test_the_student_gets_a_gradient_and_the_guidance_scale_is_embedded_where_it_can_be() -> None:
    student = Student(guidance_dim=16)
    loss, _ = tuning(student).loss(batch(), 39)
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.weight.grad is not None and float(student.weight.grad.abs()) > 0
    condition = student.asked[0][3]
    assert condition is not None and condition.shape == (64, 16)
    assert torch.equal(condition, student.asked[1][3])  # type: ignore[arg-type]
    plain = Student()
    tuning(plain).loss(batch(), 0)
    assert plain.asked[0][3] is None
