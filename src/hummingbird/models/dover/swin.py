"""Video Swin transformer with gated relative position bias: DOVER's technical branch.

Attention runs within 3-D windows, shifted in every second block (Video Swin, arXiv:2106.13230). The input is patched
together from fragments of the frame, so pixels that are neighbours in it need not be neighbours in the video. Early
stages therefore have a second table of position biases for pairs of tokens from the same fragment (FAST-VQA,
arXiv:2207.02595).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int, int]  # frames, rows, columns


def windows_of(x: Tensor, window: Size) -> Tensor:
    """[B, T, H, W, C] -> [B * windows, tokens, C]; the sides are multiples of the window's."""
    batch, *sides, channels = x.shape
    t, h, w = window
    x = x.view(batch, sides[0] // t, t, sides[1] // h, h, sides[2] // w, w, channels)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, t * h * w, channels)


def from_windows(x: Tensor, window: Size, sides: Size) -> Tensor:
    """Inverse of :func:`windows_of`: [B * windows, tokens, C] -> [B, T, H, W, C]."""
    counts = [side // part for side, part in zip(sides, window, strict=True)]
    x = x.view(-1, *counts, *window, x.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, *sides, x.shape[-1])


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what scoring has cached must still serve training
def relative_index(window: Size, full: Size) -> Tensor:
    """Row of the bias table for each pair of tokens, [tokens, tokens]; a clipped window is a corner of the ``full``."""
    axes = torch.meshgrid(*(torch.arange(n) for n in window), indexing="ij")
    place = torch.stack(axes).flatten(1)
    offset = place[:, :, None] - place[:, None, :] + torch.tensor(full)[:, None, None] - 1
    return (offset[0] * (2 * full[1] - 1) + offset[1]) * (2 * full[2] - 1) + offset[2]


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what scoring has cached must still serve training
def _shift_mask(sides: Size, window: Size, shift: Size) -> Tensor:
    """Keeps tokens apart that only the cyclic shift made neighbours: 0 or -100, [windows, tokens, tokens]."""
    region = torch.zeros(sides, dtype=torch.long)
    for axis, (side, part, step) in enumerate(zip(sides, window, shift, strict=True)):
        bands = torch.zeros(side, dtype=torch.long)
        if step:
            bands[side - part : side - step] = 1
            bands[side - step :] = 2
        region = region * 3 + bands.view([-1 if i == axis else 1 for i in range(3)])
    label = windows_of(region[None, ..., None], window).squeeze(-1)
    return torch.where(label[:, :, None] == label[:, None, :], 0.0, -100.0)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what scoring has cached must still serve training
def _fragment_distance(sides: Size, window: Size, shift: Size, fragments: tuple[int, int]) -> Tensor:
    """How many fragments apart each pair of tokens is (city-block), [windows, tokens, tokens]."""
    rows, columns = (torch.arange(side) * n // side for side, n in zip(sides[1:], fragments, strict=True))
    grid = torch.stack([rows[:, None].expand(*sides[1:]), columns[None].expand(*sides[1:])], dim=-1)
    grid = grid.expand(1, *sides, 2).roll([-step for step in shift], dims=(1, 2, 3))
    place = windows_of(grid.contiguous(), window)
    return (place[:, :, None] - place[:, None, :]).abs().sum(-1).float()


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with learned biases by relative position."""

    def __init__(self, dim: int, window: Size, heads: int, fragment_bias: bool) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        rows = prod(2 * n - 1 for n in window)
        self.relative_position_bias_table = nn.Parameter(torch.randn(rows, heads) * 0.02)
        self.fragment_position_bias_table = nn.Parameter(torch.randn(rows, heads) * 0.02) if fragment_bias else None
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, window: Size, mask: Tensor | None, distance: Tensor | None) -> Tensor:
        """x: [B * windows, tokens, C]. ``mask``, ``distance``: [windows, tokens, tokens]."""
        count, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(count, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q * (dim // self.heads) ** -0.5) @ k.transpose(-2, -1)  # [B * windows, heads, tokens, tokens]
        bias = self._bias(window, distance)
        if mask is not None:
            bias = bias + mask[:, None]
        scores = (scores.unflatten(0, (-1, len(bias))) + bias).flatten(0, 1)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def _bias(self, window: Size, distance: Tensor | None) -> Tensor:
        """[windows or 1, heads, tokens, tokens]. The gate is the distance itself, not clamped to 1, as in DOVER."""
        index = relative_index(window, self.window).to(self.relative_position_bias_table.device)
        near = self.relative_position_bias_table[index].permute(2, 0, 1)[None]
        if self.fragment_position_bias_table is None or distance is None:
            return near
        gate = distance[:, None]
        return gate * near + (1 - gate) * self.fragment_position_bias_table[index].permute(2, 0, 1)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Pre-norm window attention and MLP on [B, T, H, W, C]; windows are shifted by half their side if ``shifted``."""

    def __init__(
        self, dim: int, window: Size, heads: int, shifted: bool, fragment_bias: bool, fragments: tuple[int, int]
    ) -> None:
        super().__init__()
        self.window, self.shifted, self.fragments = window, shifted, fragments
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, heads, fragment_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, dim * 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        t, h, w = x.shape[1:4]
        window, shift = self._fit((t, h, w))
        pad = [-side % part for side, part in zip((t, h, w), window, strict=True)]
        x = F.pad(x, (0, 0, 0, pad[2], 0, pad[1], 0, pad[0]))
        sides = (t + pad[0], h + pad[1], w + pad[2])
        moved = any(shift)
        mask = _shift_mask(sides, window, shift).to(x) if moved else None
        distance = None
        if self.attn.fragment_position_bias_table is not None:
            distance = _fragment_distance(sides, window, shift, self.fragments).to(x)
        if moved:
            x = x.roll([-step for step in shift], dims=(1, 2, 3))
        x = from_windows(self.attn(windows_of(x, window), window, mask, distance), window, sides)
        if moved:
            x = x.roll(list(shift), dims=(1, 2, 3))
        return x[:, :t, :h, :w]

    def _fit(self, sides: Size) -> tuple[Size, Size]:
        """Window and shift for an input: never larger than it, and not shifted along a side that one window covers."""
        window = tuple(min(part, side) for part, side in zip(self.window, sides, strict=True))
        shift = tuple(
            part // 2 if self.shifted and side > part else 0 for part, side in zip(self.window, sides, strict=True)
        )
        return (window[0], window[1], window[2]), (shift[0], shift[1], shift[2])


class PatchMerging(nn.Module):
    """Halve rows and columns, double channels; an odd side is padded with zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim * 4)
        self.reduction = nn.Linear(dim * 4, dim * 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        corners = [x[:, :, 0::2, 0::2], x[:, :, 1::2, 0::2], x[:, :, 0::2, 1::2], x[:, :, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class SwinStage(nn.Module):
    def __init__(self, blocks: Sequence[SwinBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """[B, 3, T, H, W] -> [B, T / t, H / h, W / w, C], padded with zeros where the patch does not divide a side."""

    def __init__(self, patch: Size, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(3, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, video: Tensor) -> Tensor:
        pad = [-side % part for side, part in zip(video.shape[2:], self.patch, strict=True)]
        video = F.pad(video, (0, pad[2], 0, pad[1], 0, pad[0]))
        return self.norm(self.proj(video).permute(0, 2, 3, 4, 1))


class Swin3D(nn.Module):
    """Video [B, 3, T, H, W] -> features [B, C, T', H', W']. The defaults are DOVER's Swin-T.

    Args:
        fragment_biases: for each stage, whether it has the second bias table.
        fragments: rows and columns of the fragment grid that the input is patched together from.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        patch_size: Size = (2, 4, 4),
        window_size: Size = (8, 7, 7),
        fragment_biases: Sequence[bool] = (True, True, True, False),
        fragments: tuple[int, int] = (7, 7),
    ) -> None:
        super().__init__()
        window = (window_size[0], window_size[1], window_size[2])  # a tuple also when it comes from JSON
        grid = (fragments[0], fragments[1])
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        stages = []
        for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            dim = embed_dim * 2**i
            blocks = [SwinBlock(dim, window, heads, j % 2 == 1, fragment_biases[i], grid) for j in range(depth)]
            stages.append(SwinStage(blocks, PatchMerging(dim) if i + 1 < len(depths) else None))
        self.layers = nn.ModuleList(stages)
        self.out_channels = embed_dim * 2 ** (len(depths) - 1)
        self.norm = nn.LayerNorm(self.out_channels)

    def forward(self, video: Tensor) -> Tensor:
        x = self.patch_embed(video)
        for stage in self.layers:
            x = stage(x)
        return self.norm(x).permute(0, 4, 1, 2, 3)
