"""Noise schedule algebra against diffusers' own schedulers, and the consistency formulas against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler

from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.noise import NoiseSchedule, boundary_scalings, pseudo_huber, solver_timesteps
from hummingbird.pipelines.loading import student_scheduler
from hummingbird.pipelines.text_to_video import guidance_embedding, student_timesteps

PAPER = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def test_the_papers_schedule_has_the_known_values() -> None:
    alphas = NoiseSchedule(PAPER).alphas_cumprod
    for t, value in {1: 0.9982960278, 20: 0.9813143623, 500: 0.2763326838, 999: 0.0046600985}.items():
        assert float(alphas[t]) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("scheduler", [PAPER, miniature_scheduler()], ids=["epsilon", "v_prediction"])
def test_predictions_convert_back_to_what_was_mixed(scheduler: DDIMScheduler) -> None:
    schedule = NoiseSchedule(scheduler)
    torch.manual_seed(0)
    clean, noise = torch.randn(4, 3, 2, 4, 4), torch.randn(4, 3, 2, 4, 4)
    steps = torch.tensor([19, 259, 519, 759])
    noisy = schedule.add_noise(clean, noise, steps)
    torch.testing.assert_close(noisy, scheduler.add_noise(clean, noise, steps))
    velocity = scheduler.get_velocity(clean, noise, steps)
    prediction = velocity if scheduler.config.prediction_type == "v_prediction" else noise
    x0, eps = schedule.clean_and_noise(prediction, noisy, steps)
    torch.testing.assert_close(x0, clean, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(eps, noise, atol=2e-4, rtol=1e-4)


def test_a_ddim_step_is_the_one_of_diffusers() -> None:
    scheduler = DDIMScheduler.from_config(PAPER.config, timestep_spacing="linspace")
    scheduler.set_timesteps(50)
    schedule = NoiseSchedule(scheduler)
    torch.manual_seed(0)
    noisy, prediction = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 4, 2, 4, 4)
    t = int(scheduler.timesteps[10])
    end = t - 1000 // 50
    theirs = scheduler.step(prediction, t, noisy).prev_sample
    x0, eps = schedule.clean_and_noise(prediction, noisy, torch.tensor([t]))
    torch.testing.assert_close(schedule.ddim_step(x0, eps, torch.tensor([end])), theirs, atol=1e-5, rtol=1e-5)


def test_boundary_scalings_are_those_of_the_sampler_and_exact_at_zero() -> None:
    like = torch.zeros(3, 1, 1, 1, 1)
    c_skip, c_out = boundary_scalings(torch.tensor([0, 19, 999]), like)
    assert (float(c_skip[0]), float(c_out[0])) == (1.0, 0.0)
    lcm = LCMScheduler()
    for i, t in enumerate([0, 19, 999]):
        skip, out = lcm.get_scalings_for_boundary_condition_discrete(t)
        assert float(c_skip[i]) == pytest.approx(float(skip), abs=1e-7)
        assert float(c_out[i]) == pytest.approx(float(out), abs=1e-7)


def test_guidance_embedding_follows_its_formula() -> None:
    row = guidance_embedding(torch.tensor([7.5]), 256)[0]
    for i in (0, 1, 127):
        angle = 6.5 * 1000 * math.exp(-math.log(1e4) * i / 127)
        assert float(row[i]) == pytest.approx(math.sin(angle), abs=2e-3)
        assert float(row[128 + i]) == pytest.approx(math.cos(angle), abs=2e-3)


def test_the_students_timesteps_are_the_papers() -> None:
    scheduler = student_scheduler(miniature_scheduler())
    assert student_timesteps(4, scheduler) == [999, 759, 519, 279]
    assert student_timesteps(8, scheduler) == [999, 879, 759, 639, 519, 399, 279, 159]
    with pytest.raises(ValueError, match=r"1\.\.50"):
        student_timesteps(51, scheduler)
    assert solver_timesteps(1000, 50)[[0, -1]].tolist() == [19, 999]


def test_pseudo_huber_is_quadratic_near_zero_and_linear_far_away() -> None:
    zero = torch.zeros(1)
    assert float(pseudo_huber(torch.tensor([1e-5]), zero)) == pytest.approx(1e-10 / 2e-3, rel=1e-2, abs=1e-9)
    assert float(pseudo_huber(torch.tensor([5.0]), zero)) == pytest.approx(5 - 1e-3, rel=1e-6)
