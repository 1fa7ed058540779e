"""``hummingbird prune study``: measure what each block of a teacher is worth; figures, a table and a plot."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hummingbird.data.latents import LatentDataset
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.blocks import BlockRow, block_table
from hummingbird.models.device import check_device
from hummingbird.models.leave_out import blocks
from hummingbird.models.pruning import PruningPlan, check_plan, count_parameters
from hummingbird.models.unet import VideoUNet
from hummingbird.params import Params
from hummingbird.prune.inputs import Teacher, check_latents, choose_plan, named_plans, read_teacher
from hummingbird.prune.plot import draw
from hummingbird.prune.results import Row, format_rows, write_results
from hummingbird.runlog import RunLog
from hummingbird.training.importance import Change, Draws, ImportanceStudy, Losses
from hummingbird.training.records import fingerprint
from hummingbird.training.workfolder import config_key


@dataclass(frozen=True)
class Request:
    """What to study, and where the results go."""

    teacher: Path
    latents: Path
    plan: str
    batches: int
    batch_size: int
    seed: int
    device: str
    out: Path


def study(request: Request, params: Params, layout: Layout, log: RunLog) -> str:
    """Leave out one block after the other, then whole plans' worth of them, and measure the distillation loss.

    The draws are those of ``params.stage1``. Writes ``importance.json``, ``.csv`` and ``.png`` to ``request.out``. A
    stopped study goes on after the last change that was measured.

    Returns:
        The table of results as text.

    Raises:
        UserError: no teacher, no latents, latents of another teacher, an unknown plan or one that does not fit, or a
            device that is not there.
    """
    check_device(request.device)
    data = LatentDataset(request.latents)
    teacher = read_teacher(request.teacher)
    plan = choose_plan(request.plan, teacher.unet)
    check_plan(plan, teacher.unet)
    settings = params.stage1
    query = data.batches(request.batch_size, settings.num_frames, settings.frame_stride, request.seed)
    check_latents(data, query(0), teacher.unet)
    draws = Draws(query, request.batches, request.seed, settings.guidance, settings.solver_steps)

    header = _header(request, params, teacher, plan, data)
    work = layout.work("prune_study", config_key(header))
    changes = _changes(request.plan, plan, teacher.unet)
    measured = ImportanceStudy(
        teacher.unet, data.empty_text[None], teacher.schedule, draws, work=work, device=request.device, log=log
    ).measure(changes)

    results = _results(changes, _costs(teacher.unet, plan, query(0)), measured)
    write_results(request.out, header | {"teacher_variance": measured.variance}, results)
    draw(results, header, request.out / "importance.png")
    shutil.rmtree(work, ignore_errors=True)
    return format_rows(results)


def _header(
    request: Request, params: Params, teacher: Teacher, plan: PruningPlan, data: LatentDataset
) -> dict[str, Any]:
    """All that the figures depend on."""
    settings = params.stage1
    return {
        "teacher": request.teacher.as_posix(),
        "teacher_files": fingerprint(*teacher.files),
        "teacher_parameters": count_parameters(teacher.unet),
        "latents": request.latents.as_posix(),
        "latents_files": fingerprint(request.latents),
        "clips": len(data),
        "plan": request.plan,
        "plan_layers": {"down": plan.down, "up": plan.up, "mid_block": plan.mid_block},
        "samples": request.batches * request.batch_size,
        "batch_size": request.batch_size,
        "seed": request.seed,
        "num_frames": settings.num_frames,
        "frame_stride": settings.frame_stride,
        "guidance": settings.guidance,
        "solver_steps": settings.solver_steps,
        "device": request.device,
        "dtype": "float32",
        "versions": {name: version(name) for name in ("hummingbird", "torch", "diffusers")},
    }


def _changes(name: str, plan: PruningPlan, unet: VideoUNet) -> list[Change]:
    """Every block alone; then for the plan and for the paper's two all that they drop, left out and really pruned."""
    changes = [Change(block, (block,)) for block in blocks(unet)]
    for title, other in ({Path(name).name: plan} | named_plans(unet)).items():
        try:
            check_plan(other, unet)
        except UserError:  # one of the paper's, which the teacher's shapes forbid; the chosen one has been checked
            continue
        dropped = _dropped(other, unet)
        changes += [Change(f"plan {title}, left out", dropped), Change(f"plan {title}, pruned", dropped, other)]
    return changes


def _dropped(plan: PruningPlan, unet: VideoUNet) -> tuple[str, ...]:
    kept = {"transformer_in"} | ({"mid_block"} if plan.mid_block else set())
    for group, levels in (("down_blocks", plan.down), ("up_blocks", plan.up)):
        kept |= {f"{group}.{level}.{layer}" for level, layers in enumerate(levels) for layer in layers}
    return tuple(block for block in blocks(unet) if block not in kept)


def _costs(unet: VideoUNet, plan: PruningPlan, sample: dict[str, Any]) -> dict[str, BlockRow]:
    """The blocks' parameters and operations, for one video of the sample's size."""
    _, _, frames, height, width = sample["latents"].shape
    tokens = sample["text"].shape[1]
    table = block_table(unet, plan, frames=frames, height=height, width=width, tokens=tokens)
    return {row.block: row for row in table}


def _results(changes: list[Change], costs: dict[str, BlockRow], measured: Losses) -> list[Row]:
    results = []
    for change in changes:
        relative, error = measured.relative(change.name)
        gone = [costs[block] for block in change.left_out]
        results.append(
            Row(
                change.name,
                costs[change.name].student is not None if change.name in costs else None,
                loss=relative * measured.variance,
                relative=relative,
                relative_error=error,
                parameters=sum(row.parameters for row in gone),
                flops=sum(row.flops for row in gone),
            )
        )
    return results
