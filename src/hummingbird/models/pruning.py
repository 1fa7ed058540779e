"""Block pruning: a student UNet built from a subset of the teacher's layers.

Hummingbird keeps the first layer of each encoder level, the last (up-sampling) layer of each decoder level and one
other that the widths of the skip connections decide; 0.7B also drops the middle block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import yaml
from pydantic import ValidationError

from hummingbird.errors import UserError, did_you_mean
from hummingbird.explain import explain_errors
from hummingbird.models.unet import VideoUNet, layer_counts
from hummingbird.params import Section

_LAYER_PARTS = ("resnets", "temp_convs", "attentions", "temp_attentions")
_GUIDANCE = "time_embedding.cond_proj.weight"


@dataclass(frozen=True)
class PruningPlan:
    """Which layers a student keeps.

    Args:
        down: per encoder level, the teacher's layers kept, in order.
        up: per decoder level (the innermost first), likewise; a level has one layer more than its encoder level.
        mid_block: whether the middle block stays.
    """

    down: tuple[tuple[int, ...], ...]
    up: tuple[tuple[int, ...], ...]
    mid_block: bool


class _PlanFile(Section):
    """A plan as a file holds it: the fields of :class:`PruningPlan`, of exactly these types."""

    down: list[list[int]]
    up: list[list[int]]
    mid_block: bool


def hummingbird_plan(levels: int, *, mid_block: bool) -> PruningPlan:
    """The paper's plan for a teacher of two layers a level.

    Down: the first layer of each level. Up: the last layer, and the middle one at the innermost levels but the first
    at those whose first layer takes the wider input from the level below (see facts: 1, 4, 6, 9 of VideoCrafter2).
    """
    inner = tuple((1, 2) for _ in range(min(2, levels - 1))) if levels > 2 else ()
    outer = tuple((0, 2) for _ in range(levels - len(inner)))
    return PruningPlan(down=((0,),) * levels, up=inner + outer, mid_block=mid_block)


#: The paper's two students of VideoCrafter2.
PLANS = {"0.9b": hummingbird_plan(4, mid_block=True), "0.7b": hummingbird_plan(4, mid_block=False)}


def find_plan(name: str) -> PruningPlan:
    """A plan by name, or from a YAML or JSON file with ``down``, ``up`` and ``mid_block``.

    Raises:
        UserError: an unknown name, or a file that is no plan.
    """
    if name in PLANS:
        return PLANS[name]
    path = Path(name)
    if not path.is_file():
        raise UserError(f"there is no plan or file {name!r}", f"{did_you_mean(name, PLANS)}, or write a plan to a file")
    try:
        found = _PlanFile.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        problem = "; ".join(explain_errors(error, _PlanFile))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
    else:
        down, up = (tuple(map(tuple, levels)) for levels in (found.down, found.up))
        return PruningPlan(down, up, found.mid_block)
    raise UserError(
        f"{path} is no pruning plan: {problem}",
        "write it as {down: [[0], [0]], up: [[0, 2], [0, 2]], mid_block: false}, the layers kept of each level",
    )


def key_map(plan: PruningPlan, teacher: VideoUNet) -> dict[str, str]:
    """Student parameter name -> teacher parameter name, for everything the student takes over."""
    renamed: dict[str, str] = {}
    kept = {"down_blocks": plan.down, "up_blocks": plan.up}
    for key in teacher.state_dict():
        group, *rest = key.split(".")
        if group == "mid_block" and not plan.mid_block:
            continue
        if group in kept and rest[1] in _LAYER_PARTS:
            level, part, layer, tail = int(rest[0]), rest[1], int(rest[2]), rest[3:]
            layers = kept[group][level]
            if layer in layers:
                renamed[".".join([group, rest[0], part, str(layers.index(layer)), *tail])] = key
        else:
            renamed[key] = key
    return renamed


def prune(teacher: VideoUNet, plan: PruningPlan, *, guidance_dim: int | None = 256) -> VideoUNet:
    """A student with the teacher's weights for all it keeps; only the guidance projection is new (zeros).

    A teacher on the meta device gives a student there.

    Raises:
        UserError: the plan does not fit the teacher; with the skip connection whose width forbids it.
    """
    check_plan(plan, teacher)
    counts = tuple(map(len, plan.down))
    config = dict(teacher.config)
    config.update(
        layers_per_block=counts[0] if len(set(counts)) == 1 else counts,
        has_mid_block=plan.mid_block,
        time_cond_proj_dim=guidance_dim,
    )
    with torch.device("meta") if teacher.device.type == "meta" else nullcontext():
        student = VideoUNet.from_config(config)
    source, taken = teacher.state_dict(), key_map(plan, teacher)
    if teacher.config.time_cond_proj_dim != guidance_dim:
        taken.pop(_GUIDANCE, None)
    missing = set(student.state_dict()) - set(taken) - {_GUIDANCE}
    assert not missing, missing  # check_plan has seen to it
    with torch.no_grad():
        student.load_state_dict({name: source[origin] for name, origin in taken.items()}, strict=False)
    return student


def check_plan(plan: PruningPlan, teacher: VideoUNet) -> None:
    """Refuse a plan whose student could not take over the teacher's weights.

    Raises:
        UserError: with the layer, and the widths that it would have to have.
    """
    widths, has = teacher.config.block_out_channels, layer_counts(teacher.config)
    if len(plan.down) != len(widths) or len(plan.up) != len(widths):
        raise _misfit(f"the teacher has {len(widths)} levels, the plan {len(plan.down)} down and {len(plan.up)} up")
    if plan.mid_block and teacher.mid_block is None:
        raise _misfit("it keeps the middle block, but the teacher has none")
    teacher_layers = dict(_layers(widths, has))
    for group, levels in (("down_blocks", plan.down), ("up_blocks", plan.up)):
        for level, layers in enumerate(levels):
            there = [key[2] for key in teacher_layers if key[:2] == (group, level)]
            if not layers or not set(layers) <= set(there) or any(a >= b for a, b in pairwise(layers)):
                raise _misfit(f"{group}.{level} keeps {list(layers)} of the teacher's layers {there}, in order")
    for level, (down, up) in enumerate(zip(plan.down, reversed(plan.up), strict=True)):
        if len(up) != len(down) + 1:
            raise _misfit(
                f"level {level} gives {len(down) + 1} skip connections on the way down (one of them from the level's "
                f"start) and has {len(up)} layers to take them on the way up"
            )
    for (group, level, layer), wanted in _layers(widths, tuple(map(len, plan.down))):
        origin = getattr(plan, group.removesuffix("_blocks"))[level][layer]
        found = teacher_layers[group, level, origin]
        if sum(found) != sum(wanted):
            raise _misfit(
                f"layer {layer} of {group}.{level} would take {_describe(wanted)}, but layer {origin} of the teacher's "
                f"{group}.{level} takes {_describe(found)}"
            )


def _layers(widths: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[tuple[str, int, int], tuple[int, int]]]:
    """(group, level, layer) and the channels that this layer takes: from the layer before it, and by skip."""
    last = len(widths) - 1
    for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
        above = widths[max(level - 1, 0)]
        below = widths[min(level + 1, last)]
        for layer in range(count):
            yield ("down_blocks", level, layer), (width if layer else above, 0)
        for layer in range(count + 1):  # the last takes the skip from the start of the level
            taken = (width if layer else below, width if layer < count else above)
            yield ("up_blocks", last - level, layer), taken


def _describe(widths: tuple[int, int]) -> str:
    before, skip = widths
    return f"{before} channels and a skip connection of {skip}" if skip else f"{before} channels"


def _misfit(problem: str) -> UserError:
    return UserError(
        f"the plan does not fit: {problem}", "change the plan there; 0.7b and 0.9b are plans that fit VideoCrafter2"
    )


def count_parameters(module: torch.nn.Module) -> int:
    """Number of parameters, trained or not."""
    return sum(p.numel() for p in module.parameters())
