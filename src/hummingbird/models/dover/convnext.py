"""ConvNeXt in three dimensions, versions 1 and 2: DOVER's aesthetic branch, and both branches of DOVER-Mobile.

A 2-D network (arXiv:2201.03545, arXiv:2301.00808) inflated over time: the depthwise kernels are 1, 3, 1, 1, 3, 1, ...
frames long within each stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_KERNEL_FRAMES = (1, 3, 1)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [B, C, T, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ResponseNorm(nn.Module):
    """Global response normalisation of [B, T, H, W, C]; over frames and rows only, as DOVER-Mobile was trained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        strength = x.norm(dim=(1, 2), keepdim=True)
        relative = strength / (strength.mean(-1, keepdim=True) + 1e-6)
        return self.gamma * (x * relative) + self.beta + x


class Block(nn.Module):
    """Depthwise convolution, then an MLP over channels, as a residual. Version 1 has a layer scale, version 2 a GRN."""

    def __init__(self, dim: int, kernel_frames: int, version: int) -> None:
        super().__init__()
        kernel = (kernel_frames, 7, 7)
        self.dwconv = nn.Conv3d(dim, dim, kernel, padding=(kernel_frames // 2, 3, 3), groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, dim * 4)
        self.grn = ResponseNorm(dim * 4) if version == 2 else None
        self.pwconv2 = nn.Linear(dim * 4, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6)) if version == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.pwconv1(self.norm(self.dwconv(x).movedim(1, -1))))
        if self.grn is not None:
            y = self.grn(y)
        y = self.pwconv2(y)
        if self.gamma is not None:
            y = self.gamma * y
        return x + y.movedim(-1, 1)


class ConvNeXt3D(nn.Module):
    """Video [B, 3, T, H, W] -> features [B, C, T / 2, H', W']. The defaults are DOVER's ConvNeXt-T.

    Args:
        num_classes: outputs of a classifier that pre-training left in DOVER-Mobile's checkpoint; nothing uses it.

    Raises:
        ValueError: ``version`` is neither 1 nor 2.
    """

    def __init__(
        self,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (3, 3, 9, 3),
        version: int = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        if version not in (1, 2):
            raise ValueError(f"ConvNeXt has versions 1 and 2, not {version}")
        stem = nn.Sequential(nn.Conv3d(3, dims[0], (2, 4, 4), stride=(2, 4, 4)), ChannelNorm(dims[0]))
        shrink = [
            nn.Sequential(ChannelNorm(small), nn.Conv3d(small, large, (1, 2, 2), stride=(1, 2, 2)))
            for small, large in pairwise(dims)
        ]
        self.downsample_layers = nn.ModuleList([stem, *shrink])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(dim, _KERNEL_FRAMES[j % 3], version) for j in range(depth)))
            for dim, depth in zip(dims, depths, strict=True)
        )
        self.out_channels = dims[-1]
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], num_classes) if num_classes else None

    def forward(self, video: Tensor) -> Tensor:
        x = video
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)
