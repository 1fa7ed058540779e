"""Block pruning: a student UNet built from a subset of the teacher's layers.

Hummingbird keeps the first layer of each encoder level, the last (up-sampling) layer of each decoder level and one
other that the widths of the skip connections decide; 0.7B also drops the middle block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hummingbird.models.unet import VideoUNet

_DOWN_PARTS = ("resnets", "temp_convs", "attentions", "temp_attentions")


@dataclass(frozen=True)
class PruningPlan:
    """Which layers a student keeps.

    Args:
        down: per encoder level, the teacher's layers kept, in order.
        up: per decoder level, likewise; a level has one layer more than an encoder level.
        mid_block: whether the middle block stays.
    """

    down: tuple[tuple[int, ...], ...]
    up: tuple[tuple[int, ...], ...]
    mid_block: bool


def hummingbird_plan(levels: int, *, mid_block: bool) -> PruningPlan:
    """The paper's plan for a teacher of two layers a level.

    Down: the first layer of each level. Up: the last layer, and the middle one at the innermost level but the first
    at those whose first layer takes the wider input from the level below (see facts: 1, 4, 6, 9 of VideoCrafter2).
    """
    inner = tuple((1, 2) for _ in range(min(2, levels - 1))) if levels > 2 else ()
    outer = tuple((0, 2) for _ in range(levels - len(inner)))
    return PruningPlan(down=((0,),) * levels, up=inner + outer, mid_block=mid_block)


def key_map(plan: PruningPlan, teacher: VideoUNet) -> dict[str, str]:
    """Student parameter name -> teacher parameter name, for everything the student takes over."""
    renamed: dict[str, str] = {}
    kept = {"down_blocks": plan.down, "up_blocks": plan.up}
    for key in teacher.state_dict():
        group, *rest = key.split(".")
        if group == "mid_block" and not plan.mid_block:
            continue
        if group in kept and rest[1] in _DOWN_PARTS:
            level, part, layer, tail = int(rest[0]), rest[1], int(rest[2]), rest[3:]
            layers = kept[group][level]
            if layer in layers:
                renamed[".".join([group, rest[0], part, str(layers.index(layer)), *tail])] = key
        else:
            renamed[key] = key
    return renamed


def prune(teacher: VideoUNet, plan: PruningPlan, *, guidance_dim: int | None = 256) -> VideoUNet:
    """A student with the teacher's weights for all it keeps; only the guidance projection is new (zeros).

    Raises:
        ValueError: the plan does not fit the teacher, with the first tensor whose shape forbids it.
    """
    config = dict(teacher.config)
    layers = {len(level) for level in plan.down} | {len(level) - 1 for level in plan.up}
    if len(layers) != 1:
        raise ValueError(f"a plan keeps the same number of layers at every level, and one more on the way up: {plan}")
    config.update(layers_per_block=layers.pop(), has_mid_block=plan.mid_block, time_cond_proj_dim=guidance_dim)
    student = VideoUNet.from_config(config)
    source, target = teacher.state_dict(), student.state_dict()
    taken = key_map(plan, teacher)
    for name, origin in taken.items():
        if name not in target or target[name].shape != source[origin].shape:
            have = tuple(target[name].shape) if name in target else "nothing"
            raise ValueError(f"the plan does not fit: {origin} {tuple(source[origin].shape)} -> {name} {have}")
    missing = set(target) - set(taken) - {"time_embedding.cond_proj.weight"}
    if missing:
        raise ValueError(f"the plan leaves {len(missing)} tensors of the student without a source, e.g. {min(missing)}")
    with torch.no_grad():
        student.load_state_dict({name: source[origin] for name, origin in taken.items()}, strict=False)
    return student


def count_parameters(module: torch.nn.Module) -> int:
    """Number of parameters, trained or not."""
    return sum(p.numel() for p in module.parameters())
