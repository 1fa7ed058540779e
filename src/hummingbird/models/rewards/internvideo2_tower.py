"""InternVideo2's vision tower (arXiv:2403.15377): tokens of all frames, joint attention, attentive pooling.

A 2-D patch convolution per frame; a class token first, then the patches frame by frame; one learned position for each
token. Pre-norm blocks with RMSNorm, queries and keys normalised over all heads together, and layer scale; no final
norm. A query made of the mean token pools all of them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.activations import ACT2FN


class Attention(nn.Module):
    """Joint self-attention of tokens [B, N, D]; no mask."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.RMSNorm(width, eps=eps)  # over the whole width, before it is split into heads
        self.k_norm = nn.RMSNorm(width, eps=eps)
        self.proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        q, k, v = self.qkv(hidden).chunk(3, dim=-1)
        return self.proj(_attend(self.q_norm(q), self.k_norm(k), v, self.heads))


class Block(nn.Module):
    """Attention and an MLP, each normalised before and scaled by a learned factor per channel after."""

    def __init__(self, width: int, heads: int, hidden_width: int, eps: float, activation: str) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=eps)
        self.attn = Attention(width, heads, eps)
        self.scale1 = nn.Parameter(torch.full((width,), 1e-5))
        self.norm2 = nn.RMSNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, hidden_width)
        self.activation = ACT2FN[activation]
        self.fc2 = nn.Linear(hidden_width, width)
        self.scale2 = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + _scaled(self.attn(self.norm1(hidden)), self.scale1)
        return hidden + _scaled(self.fc2(self.activation(self.fc1(self.norm2(hidden)))), self.scale2)


class AttentivePool(nn.Module):
    """Tokens [B, N, D] -> [B, out]: the mean token asks, all tokens answer; each role has a norm of its own."""

    def __init__(self, width: int, heads: int, out: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(width, eps=eps) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, out)

    def forward(self, hidden: Tensor) -> Tensor:
        query = self.q(self.norm_q(hidden.mean(1, keepdim=True)))
        pooled = _attend(query, self.k(self.norm_k(hidden)), self.v(self.norm_v(hidden)), self.heads)
        return self.proj(pooled)[:, 0]


class InternVideo2Tower(nn.Module):
    """Video [B, T, 3, S, S] (normalised) -> features [B, projection_dim], not normalised.

    T is 1, ``config.trained_frames`` (what the position table was trained with) or ``config.num_frames``.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        patches = (config.image_size // patch) ** 2
        self.frames = (1, config.trained_frames, config.num_frames)
        self.checkpoint_blocks = config.checkpoint_blocks
        # One weight per frame: a (1, p, p) 3-D convolution is a 2-D one, which is far faster on CPU.
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.video_positions = nn.Parameter(torch.randn(1, 1 + config.trained_frames * patches, width) * 0.02)
        self.image_positions = nn.Parameter(torch.randn(1, 1 + patches, width) * 0.02)
        heads, eps = config.num_attention_heads, config.rms_norm_eps
        self.blocks = nn.ModuleList(
            Block(width, heads, config.intermediate_size, eps, config.hidden_act)
            for _ in range(config.num_hidden_layers)
        )
        self.pool = AttentivePool(width, config.pool_heads, config.pool_dim, config.layer_norm_eps)
        self.projection = nn.Linear(config.pool_dim, config.projection_dim)

    def forward(self, video: Tensor) -> Tensor:
        """Raises:
        ValueError: a number of frames that the tower does not take.
        """
        return self.projection(self.pool(self.tokens(video)))

    def tokens(self, video: Tensor) -> Tensor:
        """Tokens [B, 1 + T * P, D] after the last block: the class token, then the patches frame by frame."""
        batch, frames = video.shape[:2]
        if frames not in self.frames:
            *some, last = (str(count) for count in sorted(set(self.frames)))
            raise ValueError(f"a clip of {frames} frames; the tower takes {', '.join(some)} or {last}")
        patches = self.patch_embedding(video.flatten(0, 1)).flatten(2).transpose(1, 2)  # [B*T, P, D]
        patches = patches.unflatten(0, (batch, frames)).flatten(1, 2)
        hidden = torch.cat([self.class_token.expand(batch, 1, -1), patches], dim=1) + self.positions(frames)
        # At full size the activations of 40 blocks would take more memory than the student's own training.
        recompute = self.checkpoint_blocks and torch.is_grad_enabled() and hidden.requires_grad
        for block in self.blocks:
            hidden = checkpoint(block, hidden, use_reentrant=False) if recompute else block(hidden)
        return hidden

    def positions(self, frames: int) -> Tensor:
        """Positions [1, 1 + T * P, D] for clips of ``frames`` frames.

        A single frame has a table of its own. Another number than the table was trained with is interpolated linearly
        in time, patch by patch; the class token keeps its row.
        """
        if frames == 1:
            return self.image_positions
        patches = self.image_positions.shape[1] - 1
        table = self.video_positions
        if table.shape[1] == 1 + frames * patches:
            return table
        by_patch = table[0, 1:].float().unflatten(0, (-1, patches)).permute(1, 2, 0)  # [P, D, trained T]
        longer = F.interpolate(by_patch, size=frames, mode="linear", align_corners=False)
        return torch.cat([table[:, :1], longer.permute(2, 0, 1).flatten(0, 1)[None].to(table.dtype)], dim=1)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    q, k, v = (it.unflatten(-1, (heads, -1)).transpose(1, 2) for it in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _scaled(hidden: Tensor, scale: Tensor) -> Tensor:
    # in float32: a factor starts at 1e-5, where float16 has hardly any digits
    return (hidden.float() * scale.float()).to(hidden.dtype)
