"""What pruning keeps and drops, block by block, with parameters and operations; on the meta device, at any size."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from hummingbird.models.pruning import PruningPlan, check_plan, key_map
from hummingbird.models.unet import VideoUNet


@dataclass(frozen=True)
class BlockRow:
    """One block of the teacher.

    Args:
        block: ``down_blocks.1.0`` = level 1, layer 0; ``mid_block``, ``conv_in``, ...
        student: its name in the student; none = dropped.
        flops: floating point operations of one forward pass; a multiplication and an addition are two.
    """

    block: str
    student: str | None
    parameters: int
    flops: int


def block_table(
    teacher: VideoUNet, plan: PruningPlan, *, frames: int = 16, height: int = 40, width: int = 64, tokens: int = 77
) -> list[BlockRow]:
    """The teacher's blocks in the order of the forward pass, for one video of latents [C, frames, height, width].

    Raises:
        UserError: the plan does not fit the teacher.
    """
    check_plan(plan, teacher)
    flops = _flops(teacher, frames, height, width, tokens)
    students = {origin: name for name, origin in key_map(plan, teacher).items()}
    parameters: dict[str, int] = defaultdict(int)
    modules: dict[str, set[str]] = defaultdict(set)
    becomes: dict[str, str | None] = {}
    for key, parameter in teacher.state_dict().items():
        block, module = _block(key)
        parameters[block] += parameter.numel()
        modules[block].add(module)
        becomes[block] = _block(students[key])[0] if key in students else None
    rows = [
        BlockRow(block, becomes[block], parameters[block], sum(flops.get(module, 0) for module in modules[block]))
        for block in parameters
    ]
    return sorted(rows, key=_position)


def _block(key: str) -> tuple[str, str]:
    """The block that a parameter belongs to, and the module whose operations are counted for it."""
    group, *rest = key.split(".")
    if group not in ("down_blocks", "up_blocks"):
        return group, group
    level, part, layer = rest[:3]
    name = part.removesuffix("s") if part in ("downsamplers", "upsamplers") else layer
    return f"{group}.{level}.{name}", f"{group}.{level}.{part}.{layer}"


def _position(row: BlockRow) -> tuple[int, str]:
    order = ("time_", "fps_", "text_", "conv_in", "layout", "transformer_in", "down_", "mid_", "up_", "conv_")
    return next(i for i, start in enumerate(order) if row.block.startswith(start)), row.block


def _flops(unet: VideoUNet, frames: int, height: int, width: int, tokens: int) -> dict[str, int]:
    """Operations of one forward pass, by module."""
    config = unet.config
    with torch.device("meta"):
        shadow = VideoUNet.from_config(config)
        sample = torch.empty(1, config.in_channels, frames, height, width)
        text = torch.empty(1, tokens, config.cross_attention_dim)
        step = torch.zeros(1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(sample, step, text)
    prefix = f"{type(shadow).__name__}."
    return {name.removeprefix(prefix): sum(ops.values()) for name, ops in counter.get_flop_counts().items()}


def format_table(rows: list[BlockRow]) -> str:
    """The rows as text, with the sums of what is kept and of everything."""
    lines = [_line("block", "verdict", "in the student", "parameters", "GFLOP")]
    for row in rows:
        verdict = "kept" if row.student else "dropped"
        lines.append(_line(row.block, verdict, row.student or "", f"{row.parameters:,}", f"{row.flops / 1e9:,.1f}"))
    for title, chosen in (("teacher", rows), ("student", [row for row in rows if row.student])):
        parameters, flops = sum(row.parameters for row in chosen), sum(row.flops for row in chosen)
        lines.append(_line(title, "", "", f"{parameters:,}", f"{flops / 1e9:,.1f}"))
    return "\n".join(lines)


def _line(block: str, verdict: str, student: str, parameters: str, flops: str) -> str:
    return f"{block:<26} {verdict:<8} {student:<26} {parameters:>15} {flops:>10}"
