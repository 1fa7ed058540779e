"""The probe: a small classifier that reads off what a clip of the miniature world shows.

It judges generated clips, so it shares nothing with the reward models: no text, no attention, other data and another
loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import Tensor, nn

from hummingbird.data import world

#: The classes of each head, in the order of its logits. Colour, shape, texture and size are the first object's.
HEADS: dict[str, tuple[str, ...]] = {
    "color": tuple(world.COLORS),
    "shape": world.SHAPES,
    "motion": world.MOTIONS,
    "background": world.BACKGROUNDS,
    "texture": world.TEXTURES,
    "size": tuple(world.SIZES),
    "spoilage": ("none", *world.SPOILAGE),
}


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Probe(ModelMixin, ConfigMixin):
    """2-D convolutions per frame, then 1-D convolutions over time, then one linear head per fact.

    The spatial grid (4x4 cells at 32 pixels) is kept until the temporal part, so that displacement is visible to it.
    """

    @register_to_config
    def __init__(self, width: int = 16, size: int = 32, hidden: int = 128) -> None:
        super().__init__()
        self.frames = nn.Sequential(
            _conv(3, width, kernel=5, stride=2),
            _conv(width, 2 * width),
            _conv(2 * width, 4 * width, stride=2),
            _conv(4 * width, 4 * width, stride=2),
            nn.Flatten(),
            nn.Linear(4 * width * (size // 8) ** 2, hidden),
            nn.ReLU(),
        )
        self.time = nn.Sequential(
            nn.Conv1d(hidden, hidden, 3, padding=1), nn.ReLU(), nn.Conv1d(hidden, hidden, 3, padding=1), nn.ReLU()
        )
        # What a frame shows, how much it changes from frame to frame, and how it moves.
        self.heads = nn.ModuleDict({name: nn.Linear(4 * hidden, len(classes)) for name, classes in HEADS.items()})

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        """Logits per head, [B, classes], of a clip [B, T, 3, S, S] in [0, 1]."""
        batch, count = video.shape[:2]
        per_frame = self.frames(video.flatten(0, 1) * 2 - 1).unflatten(0, (batch, count))  # [B, T, D]
        change = per_frame[:, 1:] - per_frame[:, :-1]
        moving = self.time(per_frame.transpose(1, 2))
        features = torch.cat([per_frame.mean(1), change.abs().mean(1), moving.mean(2), moving.amax(2)], dim=1)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.inference_mode()
    def predict(self, videos: NDArray | Tensor, chunk: int = 64) -> dict[str, Tensor]:
        """Logits per head, [B, classes], of uint8 clips [B, T, H, W, 3]; clips of another size are resized.

        Raises:
            ValueError: the clips are not uint8 [B, T, H, W, 3].
        """
        clips = torch.as_tensor(videos)
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[-1] != 3:
            raise ValueError(f"expected uint8 [B, T, H, W, 3], got {clips.dtype} {tuple(clips.shape)}")
        was_training = self.training
        self.eval()
        parts = [self(self._pixels(part)) for part in clips.split(chunk)]
        self.train(was_training)
        return {name: torch.cat([part[name] for part in parts]).float() for name in HEADS}

    def _pixels(self, clips: Tensor) -> Tensor:
        pixels = clips.movedim(-1, -3).to(device=self.device, dtype=self.dtype) / 255
        size = self.config.size
        if pixels.shape[-2:] == (size, size):
            return pixels
        flat = F.interpolate(pixels.flatten(0, 1), (size, size), mode="bilinear", antialias=True, align_corners=False)
        return flat.unflatten(0, pixels.shape[:2])
