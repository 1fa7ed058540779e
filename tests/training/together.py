"""A training for torchrun to start (test_processes.py): a small video denoiser, results into a file.

Arguments: strategy, work folder, result file, and the step at which every process kills itself (0 = none).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hummingbird.models.unet import VideoUNet
from hummingbird.params import Optim, Training
from hummingbird.runlog import SilentLog
from hummingbird.training.sharding import gather
from hummingbird.training.trainer import Trainer

OPTIM = Optim(steps=6, batch_size=2, learning_rate=1e-2, accumulate=2, ema_decay=0.5)


class Denoising:
    """Predicts the noise; and twice through the network, the second time without gradient, as consistency does."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = VideoUNet(
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=8,
            attention_head_dim=8,
        )

    @property
    def trainable(self) -> nn.Module:
        return self.net

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        noise, timesteps = torch.randn_like(batch), torch.randint(1000, (len(batch),))
        text = torch.ones(len(batch), 3, 8)
        prediction = self.net(batch + noise, timesteps, text).sample
        with torch.no_grad():
            target = self.net(batch, timesteps, text).sample
        loss = (prediction - noise).square().mean() + (prediction - target).square().mean()
        return loss, {"twice": 2 * loss.detach()}


def data(part: int) -> Tensor:
    return torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(part))


class Look:
    """Calls the network with its averaged weights, as drawing samples does, and likes the second phase's middle."""

    every = 2

    def __init__(self, network: VideoUNet) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, step: int) -> float:
        drawn = self.network(data(1000), torch.tensor([500]), torch.ones(2, 3, 8)).sample
        return float(drawn.std()) - abs(step - 4)


class KillAt(SilentLog):
    """Every process kills itself when the metrics of a step arrive."""

    def __init__(self, step: int) -> None:
        self.step = step

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        if self.step and step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(strategy: str, work: Path, kill_at: int = 0) -> tuple[VideoUNet, list[dict[str, float]], bool]:
    """Two phases on one network, as stage 1 has; the second keeps its best validation."""
    method = Denoising()
    training = Training.model_validate({"strategy": strategy, "checkpoint_every_steps": 1})
    rows: list[dict[str, float]] = []
    for phase, look in enumerate((None, Look(method.net))):
        trainer = Trainer(
            method,
            data,
            OPTIM,
            work=work / str(phase),
            seed=3 + phase,
            log=KillAt(kill_at),
            training=training,
            validation=look,
            first_step=len(rows),
        )
        rows += trainer.fit()
    gather(method.net)
    return method.net, rows, trainer.accelerator.is_main_process


if __name__ == "__main__":
    network, series, is_main = train(sys.argv[1], Path(sys.argv[2]), int(sys.argv[4]))
    if is_main:
        torch.save({"history": series, "weights": network.state_dict()}, sys.argv[3])
