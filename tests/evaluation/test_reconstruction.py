"""PSNR, SSIM and flicker on videos whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from evaluation import metrics
from evaluation.reconstruction import C1, flicker, psnr_db, second_difference, ssim


def videos(count: int = 2, frames: int = 4, size: int = 16) -> torch.Tensor:
    return torch.rand(count, frames, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_psnr_of_a_constant_error() -> None:
    clips = videos() * 0.5
    off = clips + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1, 1)
    assert psnr_db(off, clips).tolist() == pytest.approx([20.0, 40.0], abs=1e-3)
    assert psnr_db(clips, clips).tolist() == [100.0, 100.0]


def test_ssim_of_flat_pictures_is_its_luminance_term() -> None:
    a, b = 0.2, 0.6
    shape = (1, 2, 3, 16, 16)
    expected = (2 * a * b + C1) / (a * a + b * b + C1)
    assert float(ssim(torch.full(shape, a), torch.full(shape, b))) == pytest.approx(expected, abs=1e-4)


def test_ssim_is_one_for_equals_and_falls_with_noise() -> None:
    clips = videos()
    noise = torch.randn_like(clips)
    values = [float(ssim(clips + level * noise, clips).mean()) for level in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(1.0, abs=1e-5)
    assert values[0] > values[1] > values[2] > 0


def test_ssim_takes_frames_smaller_than_its_window() -> None:
    assert math.isfinite(float(ssim(videos(size=4), videos(size=4)).mean()))


def test_flicker_is_the_excess_of_the_second_difference() -> None:
    clips = videos() * 0.5
    blink = torch.tensor([0.0, 0.1, 0.0, 0.1]).view(1, 4, 1, 1, 1)
    still = clips[:, :1].expand(-1, 4, -1, -1, -1)
    assert flicker(still + blink, still).tolist() == pytest.approx([0.2, 0.2], abs=1e-5)
    assert flicker(still, still + blink).tolist() == pytest.approx([-0.2, -0.2], abs=1e-5)
    assert second_difference(clips[:, :2]).tolist() == [0.0, 0.0]


def test_the_second_difference_is_that_of_the_models_figures() -> None:
    pixels = (videos() * 255).byte()
    theirs = metrics.second_difference(pixels.movedim(2, -1).numpy())
    np.testing.assert_allclose(second_difference(pixels / 255).numpy(), theirs, rtol=1e-4)
