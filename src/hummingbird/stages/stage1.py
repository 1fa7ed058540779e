"""Stage ``stage1``: prune the teacher, then distil: 1a its guided output, 1b latent consistency."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hummingbird.data.latents import LatentDataset
from hummingbird.errors import UserError
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.pruning import PruningPlan, count_parameters, hummingbird_plan, prune
from hummingbird.models.unet import VideoUNet
from hummingbird.params import Optim, Params, Stage1, Training
from hummingbird.pipelines.loading import load_teacher, student_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog
from hummingbird.training import processes
from hummingbird.training.learner import Method
from hummingbird.training.lora import add_adapters, merge_adapters
from hummingbird.training.methods.cfg_distillation import CfgDistillation
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.features import FeatureAlignment
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.records import final_means, fingerprint, write_curve
from hummingbird.training.seeding import seeded
from hummingbird.training.sharding import gather
from hummingbird.training.trainer import Trainer
from hummingbird.training.validation import Validation
from hummingbird.training.workfolder import open_work

MODELS = ("unet", "scheduler", "text_encoder", "tokenizer")
GUIDANCE = "time_embedding.cond_proj"  # the one layer that no teacher has: trained whole, also beside adapters
#: A phase: its name, how it is trained (None = left out), and its method, made when the phase before has ended.
Phase = tuple[str, Optim | None, Callable[[], Method]]


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``pruned`` (the pruned teacher) and ``pipeline`` (the student) to ``layout.stage1``.

    Raises:
        UserError: there is nothing to train, or an input is missing.
    """
    settings = params.stage1
    _check(settings, params.training)
    teacher = load_teacher(layout.foundation).to(processes.device())
    data = LatentDataset(layout.latents)
    plan = hummingbird_plan(len(teacher.unet.config.block_out_channels), mid_block=settings.keep_mid_block)
    pruned = prune(teacher.unet, plan, guidance_dim=settings.guidance_dim)
    inputs = fingerprint(layout.latents, *(layout.foundation / name for name in MODELS))
    identity = {"stage1": settings.model_dump(mode="json"), "seed": params.seed, "inputs": inputs}
    work = open_work(layout, "stage1", identity)

    student = _first_weights(pruned, settings, params.seed).to(processes.device())
    preview = student_pipeline(teacher, student, settings.solver_steps)
    _choose_trained(student, settings, params.seed)
    rows = _distil(params, layout, log, preview, data, _phases(settings, teacher, student, plan), work)
    gather(student)
    merge_adapters(student)
    if not processes.is_main():
        return {}
    with replacing_folder(layout.stage1) as out:
        pruned.save_pretrained(out / "pruned")
        preview.save_pretrained(out / "pipeline")
    write_curve(layout.curve("stage1"), rows)
    return {
        "teacher_params": count_parameters(teacher.unet),
        "params": count_parameters(student),
        **final_means(rows, ["loss"], 50),
    }


def _check(settings: Stage1, training: Training) -> None:
    if settings.distillation is None and settings.consistency is None:
        raise UserError(
            "stage1 has nothing to train: both of its phases are left out",
            "give stage1.distillation or stage1.consistency in params.yaml",
        )
    if settings.start == "random" and settings.lora is not None:
        raise UserError(
            "stage1 would train adapters of random weights, which stay random",
            "set stage1.start to teacher, or leave stage1.lora empty, in params.yaml",
        )
    if settings.target_ema_decay and training.strategy == "fsdp":
        raise UserError(
            "stage1.target_ema_decay keeps a second copy of the student, which strategy fsdp cannot make",
            "set training.strategy to ddp, or target_ema_decay to 0 (the student is its own target), in params.yaml",
        )


def _first_weights(pruned: VideoUNet, settings: Stage1, seed: int) -> VideoUNet:
    """The student before training."""
    if settings.start == "teacher":
        return copy.deepcopy(pruned)
    with seeded(seed):
        student: VideoUNet = VideoUNet.from_config(pruned.config)
    return student


def _choose_trained(student: VideoUNet, settings: Stage1, seed: int) -> None:
    """All weights of the student, or adapters beside them."""
    student.requires_grad_(True)
    if settings.lora is not None:
        with seeded(seed):
            add_adapters(student, settings.lora, whole=(GUIDANCE,))


def _phases(settings: Stage1, teacher: TextToVideoPipeline, student: VideoUNet, plan: PruningPlan) -> list[Phase]:
    schedule = NoiseSchedule(teacher.scheduler)
    guided = GuidedTeacher(
        teacher.unet,
        teacher.encode([""]).detach(),
        precision=settings.teacher_precision,
        fps_condition=settings.fps_condition,
    )
    shared: dict[str, Any] = {"guidance": settings.guidance, "solver_steps": settings.solver_steps}

    def distillation() -> Method:
        weight = settings.feature_weight
        features = FeatureAlignment(student, teacher.unet, plan, weight=weight) if weight else None
        return CfgDistillation(
            student, guided, schedule, **shared, dynamic_rescale=settings.dynamic_rescale, features=features
        )

    def consistency() -> Method:
        decay = settings.target_ema_decay
        return ConsistencyDistillation(
            student, guided, schedule, **shared, huber_c=settings.huber_c, target_ema_decay=decay
        )

    return [
        ("distillation", settings.distillation, distillation),
        ("consistency", settings.consistency, consistency),
    ]


def _distil(
    params: Params,
    layout: Layout,
    log: RunLog,
    preview: TextToVideoPipeline,
    data: LatentDataset,
    phases: list[Phase],
    work: Path,
) -> list[dict[str, Any]]:
    """The phases in turn; returns one series, whose second part starts where the first ended."""
    settings = params.stage1
    rows: list[dict[str, Any]] = []
    for number, (name, optim, method) in enumerate(phases):
        if optim is None:
            continue
        seed = params.seed * len(phases) + number
        samples = Validation(
            preview,
            data.captions,
            optim.sample_every,
            folder=layout.sheets("stage1"),
            log=log,
            guard=params.training.guard,
            offset=len(rows),
        )
        world = processes.count()
        batches = data.batches(optim.batch_size, settings.num_frames, settings.frame_stride, seed, world)
        history = Trainer(
            method(),
            batches,
            optim,
            work=work / name,
            seed=seed,
            log=log,
            training=params.training,
            validation=samples,
            description=f"stage 1 {name}",
            first_step=len(rows),
        ).fit()  # nothing of it stays in memory for the next phase
        rows += [{**row, "step": row["step"] + len(rows), "phase": name} for row in history]
    return rows
