"""DOVER: how good a video is to look at, in two parts (arXiv:2211.04894).

The technical branch sees fragments at full resolution, where blur, noise and compression show; the aesthetic branch
sees the whole frame, made small. Each gives a map of scores; a branch's score is its mean.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import Tensor, nn

from hummingbird.models.dover.convnext import ConvNeXt3D
from hummingbird.models.dover.swin import Swin3D
from hummingbird.models.dover.views import ViewSizes, aesthetic_view, technical_view

_BACKBONES: dict[str, type[Swin3D] | type[ConvNeXt3D]] = {"swin": Swin3D, "convnext": ConvNeXt3D}


class QualityScores(NamedTuple):
    """Three scores in 0..1 for each clip, [B]; 0.5 is an average video of the scale that the model is calibrated to."""

    aesthetic: Tensor
    technical: Tensor
    overall: Tensor


class Head(nn.Module):
    """Features [B, C, T, H, W] -> map of raw scores [B, 1, T, H, W]."""

    def __init__(self, channels: int, hidden: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.fc_hid = nn.Conv3d(channels, hidden, 1)
        self.fc_last = nn.Conv3d(hidden, 1, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc_last(self.dropout(F.gelu(self.fc_hid(self.dropout(features)))))


class Dover(ModelMixin, ConfigMixin):
    """The two branches, their heads, the views they see and the constants that join them.

    Args:
        technical, aesthetic: ``kind`` (``swin`` or ``convnext``) and the arguments of that backbone.
        views: arguments of :class:`~hummingbird.models.dover.views.ViewSizes`.
        technical_scale, aesthetic_scale: mean and standard deviation of the raw scores; DOVER's are of its test sets.
        technical_share: weight of the technical part in the overall score.

    Raises:
        ValueError: the kind of a backbone is unknown.
    """

    @register_to_config
    def __init__(
        self,
        technical: dict[str, Any] | None = None,
        aesthetic: dict[str, Any] | None = None,
        views: dict[str, Any] | None = None,
        head_hidden: int = 64,
        dropout: float = 0.5,
        technical_scale: tuple[float, float] = (0.1107, 0.07355),
        aesthetic_scale: tuple[float, float] = (-0.08285, 0.03774),
        technical_share: float = 0.6104,
    ) -> None:
        super().__init__()
        self.technical_backbone = _backbone(technical or {"kind": "swin"})
        self.aesthetic_backbone = _backbone(aesthetic or {"kind": "convnext"})
        self.technical_head = Head(self.technical_backbone.out_channels, head_hidden, dropout)
        self.aesthetic_head = Head(self.aesthetic_backbone.out_channels, head_hidden, dropout)
        self.view_sizes = ViewSizes(**(views or {}))

    def forward(self, aesthetic: Tensor, technical: Tensor) -> tuple[Tensor, Tensor]:
        """Raw scores (aesthetic [B], technical [B]) of views [B, 3, T, H, W] and [B, clips, 3, T, H, W]."""
        whole = self.aesthetic_head(self.aesthetic_backbone(aesthetic)).flatten(1).mean(1)
        pieces = self.technical_head(self.technical_backbone(technical.flatten(0, 1))).flatten(1).mean(1)
        return whole, pieces.unflatten(0, technical.shape[:2]).mean(1)

    def fuse(self, aesthetic: Tensor, technical: Tensor) -> QualityScores:
        """Raw scores to 0..1: standardised, weighed, each through a sigmoid."""
        config = self.config
        a = (aesthetic - config.aesthetic_scale[0]) / config.aesthetic_scale[1]
        t = (technical - config.technical_scale[0]) / config.technical_scale[1]
        overall = config.technical_share * t + (1 - config.technical_share) * a
        return QualityScores(a.sigmoid(), t.sigmoid(), overall.sigmoid())

    @torch.inference_mode()
    def score(self, videos: list[NDArray[np.uint8]], seed: int = 0) -> QualityScores:
        """Score clips, each uint8 RGB [T, H, W, 3] of any size; ``seed`` places the fragments.

        The same clip gets the same score whatever else is in the list.
        """
        sizes = self.view_sizes
        whole = torch.stack([aesthetic_view(video, sizes) for video in videos])
        pieces = torch.stack([technical_view(video, sizes, seed) for video in videos])
        return self.score_views(whole, pieces)

    @torch.inference_mode()
    def score_views(self, aesthetic: Tensor, technical: Tensor) -> QualityScores:
        """Score clips by their views, float [B, 3, T, S, S] and [B, clips, 3, T, S, S]."""
        raw = self(aesthetic.to(self.device, self.dtype), technical.to(self.device, self.dtype))
        return self.fuse(raw[0].float(), raw[1].float())


def _backbone(settings: dict[str, Any]) -> Swin3D | ConvNeXt3D:
    options = dict(settings)
    kind = options.pop("kind")
    if kind not in _BACKBONES:
        raise ValueError(f"unknown backbone {kind!r}; choose from {', '.join(_BACKBONES)}")
    return _BACKBONES[kind](**options)
