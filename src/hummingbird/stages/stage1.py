"""Stage ``stage1``: prune the teacher, then distil: 1a its guided output, 1b latent consistency."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from hummingbird.data.latents import LatentDataset
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.pruning import count_parameters, hummingbird_plan, prune
from hummingbird.models.unet import VideoUNet
from hummingbird.params import Optim, Params
from hummingbird.pipelines.loading import load_teacher, student_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog
from hummingbird.training.methods.cfg_distillation import CfgDistillation
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.records import fingerprint, write_curve
from hummingbird.training.samples import SampleSheets
from hummingbird.training.trainer import Method, Trainer, config_key

SAMPLES = 6


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``pruned`` (the student before training) and ``pipeline`` (after) to ``layout.stage1``."""
    settings = params.stage1
    teacher = load_teacher(layout.foundation)
    data = LatentDataset(layout.latents)
    plan = hummingbird_plan(len(teacher.unet.config.block_out_channels), mid_block=settings.keep_mid_block)
    student = prune(teacher.unet, plan, guidance_dim=settings.guidance_dim)
    key = config_key(settings.model_dump(), params.seed, fingerprint(layout.latents, layout.foundation / "unet"))
    work = layout.work("stage1", key)

    pruned = copy.deepcopy(student)
    rows = _distil(params, layout, log, teacher, student, data, work)
    with replacing_folder(layout.stage1) as out:
        pruned.save_pretrained(out / "pruned")
        student_pipeline(teacher, student, settings.solver_steps).save_pretrained(out / "pipeline")
    write_curve(layout.curve("stage1"), rows)
    shutil.rmtree(work, ignore_errors=True)
    final = [float(row["loss"]) for row in rows[-50:]]
    return {
        "teacher_params": count_parameters(teacher.unet),
        "params": count_parameters(student),
        "final_loss": sum(final) / len(final),
    }


def _distil(
    params: Params,
    layout: Layout,
    log: RunLog,
    teacher: TextToVideoPipeline,
    student: VideoUNet,
    data: LatentDataset,
    work: Path,
) -> list[dict[str, Any]]:
    """Both phases in turn; returns one series, whose second part starts where the first ended."""
    settings = params.stage1
    schedule = NoiseSchedule(teacher.scheduler)
    guided = GuidedTeacher(teacher.unet, teacher.encode([""]).detach())
    guidance, grid = settings.guidance, settings.solver_steps
    distillation = CfgDistillation(student, guided, schedule, guidance=guidance, solver_steps=grid)
    consistency = ConsistencyDistillation(
        student, guided, schedule, guidance=guidance, solver_steps=grid, huber_c=settings.huber_c
    )
    phases: list[tuple[str, Method, Optim]] = [
        ("distillation", distillation, settings.distillation),
        ("consistency", consistency, settings.consistency),
    ]
    rows: list[dict[str, Any]] = []
    prompts = data.captions[:SAMPLES]
    preview = student_pipeline(teacher, student, grid)
    student.requires_grad_(True)
    for number, (name, method, optim) in enumerate(phases):
        seed = params.seed * len(phases) + number
        samples = SampleSheets(
            preview,
            prompts,
            optim.sample_every,
            folder=layout.sheets("stage1"),
            log=log,
            offset=len(rows),
        )
        batches = data.batches(optim.batch_size, settings.num_frames, settings.frame_stride, seed)
        trainer = Trainer(
            method,
            batches,
            optim,
            work=work / name,
            seed=seed,
            log=log,
            on_step=samples,
            description=f"stage 1 {name}",
            first_step=len(rows),
        )
        history = trainer.fit()
        rows += [{**row, "step": row["step"] + len(rows), "phase": name} for row in history]
    return rows
