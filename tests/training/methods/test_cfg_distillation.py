"""Stage 1a: what the student is compared with, and on which latents."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hummingbird.models.noise import dynamic_scales
from hummingbird.training.methods.cfg_distillation import CfgDistillation


def test_the_loss_is_the_distance_to_the_guided_prediction(pair: Any) -> None:
    method = CfgDistillation(pair.student, pair.teacher(), pair.schedule, guidance=(12.0, 12.0))
    batch = pair.batch()
    torch.manual_seed(1)
    loss, _ = method.loss(batch, 0)
    torch.manual_seed(1)
    timesteps, guidance, condition, noise = method.draw(batch["latents"])
    assert guidance.tolist() == [12.0] * 3  # e_unc + 12 (e_cond - e_unc), as released
    noisy = pair.schedule.add_noise(batch["latents"], noise, timesteps)
    target = pair.teacher()(noisy, timesteps, batch["text"], guidance, batch["fps"])
    output = pair.student(noisy, timesteps, batch["text"], timestep_cond=condition, fps=batch["fps"]).sample
    torch.testing.assert_close(loss, F.mse_loss(output, target))


def test_a_student_that_is_the_teacher_has_no_loss(whole_pair: Any) -> None:
    """At guidance 1 the guided prediction is the conditional one, which an unpruned copy gives exactly."""
    pair = whole_pair
    method = CfgDistillation(pair.student.eval(), pair.teacher(), pair.schedule, guidance=(1.0, 1.0))
    assert float(method.loss(pair.batch(), 0)[0].detach()) < 1e-9


@pytest.mark.parametrize("rescale", [False, True])
def test_clean_latents_are_scaled_by_timestep_where_asked(pair: Any, told: Any, rescale: bool) -> None:
    method = CfgDistillation(pair.student, pair.teacher(), pair.schedule, guidance=(2.0, 5.0), dynamic_rescale=rescale)
    teacher, student, batch = told(pair.unet), told(pair.student), pair.batch()
    torch.manual_seed(1)
    method.loss(batch, 0)
    torch.manual_seed(1)
    timesteps, *_, noise = method.draw(batch["latents"])
    scales = dynamic_scales()[timesteps].float().view(-1, 1, 1, 1, 1)
    assert float(scales.min()) < 0.75
    clean = batch["latents"] * scales if rescale else batch["latents"]
    noisy = pair.schedule.add_noise(clean, noise, timesteps)
    assert torch.equal(student.noisy[0], noisy)
    assert torch.equal(teacher.noisy[0], torch.cat([noisy, noisy]))
