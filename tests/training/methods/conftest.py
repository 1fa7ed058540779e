"""A teacher and its student of a few channels, and a batch for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule, videocrafter_scheduler
from hummingbird.models.pruning import PruningPlan, hummingbird_plan, prune
from hummingbird.models.unet import VideoUNet
from hummingbird.training.methods.guided import GuidedTeacher

TEXT, GUIDANCE = 6, 8  # widths


@dataclass
class Pair:
    """Untrained networks without a zero weight, and what they are asked."""

    unet: VideoUNet
    student: VideoUNet
    plan: PruningPlan
    null_text: Tensor
    schedule: NoiseSchedule = field(default_factory=lambda: NoiseSchedule(videocrafter_scheduler()))

    def teacher(self, **options: Any) -> GuidedTeacher:
        return GuidedTeacher(self.unet, self.null_text, **options)

    @staticmethod
    def batch(size: int = 3) -> dict[str, Any]:
        g = torch.Generator().manual_seed(5)
        return {
            "latents": torch.randn(size, 4, 3, 4, 4, generator=g),
            "text": torch.randn(size, 5, TEXT, generator=g),
            "fps": torch.full((size,), 12.0),
            "captions": [f"caption {i}" for i in range(size)],
        }


class Told:
    """What a network was given: a forward hook that remembers."""

    def __init__(self, network: nn.Module) -> None:
        self.noisy: list[Tensor] = []
        self.fps: list[list[float]] = []
        self.inference: list[bool] = []
        network.register_forward_pre_hook(self._remember, with_kwargs=True)

    def _remember(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.noisy.append(given[0].clone())
        self.fps.append(named["fps"].tolist())
        self.inference.append(torch.is_inference_mode_enabled())


def make_pair(plan: PruningPlan | None = None) -> Pair:
    torch.manual_seed(0)
    unet = VideoUNet(
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(16, 16),
        layers_per_block=2,
        norm_num_groups=4,
        cross_attention_dim=TEXT,
        attention_head_dim=8,
        temporal_dropout=0.0,
    )
    for parameter in unet.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.1)
    plan = plan or hummingbird_plan(2, mid_block=False)
    student = prune(unet, plan, guidance_dim=GUIDANCE)
    return Pair(unet, student, plan, torch.randn(1, 5, TEXT))


@pytest.fixture
def pair() -> Pair:
    """A pruned student."""
    return make_pair()


@pytest.fixture
def whole_pair() -> Pair:
    """A student that is the teacher with a guidance embedding."""
    return make_pair(PruningPlan(down=((0, 1),) * 2, up=((0, 1, 2),) * 2, mid_block=True))


@pytest.fixture
def told() -> type[Told]:
    return Told
