"""The score of what is sampled from captions that were held out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hummingbird.training.held_out import HeldOutRewards
from hummingbird.training.methods.mixture import RewardMixture


def test_scores_are_means_over_all_clips(brightness: Any) -> None:
    mixture = RewardMixture(brightness(), brightness(), image_weight=1.0, video_weight=3.0, image_frames=2)
    videos = torch.rand(11, 4, 3, 8, 8)
    found, score = HeldOutRewards(mixture, torch.device("cpu"))(videos, [f"caption {n}" for n in range(11)])
    image, video = videos[:, [0, 3]].mean(), videos.mean()
    assert found["held_out/image_reward"] == pytest.approx(float(image), rel=1e-5)
    assert found["held_out/video_reward"] == pytest.approx(float(video), rel=1e-5)
    assert score == found["held_out/score"] == pytest.approx(float((image + 3 * video) / 4), rel=1e-5)
    assert mixture.video.prompts == ["caption 8", "caption 9", "caption 10"]
