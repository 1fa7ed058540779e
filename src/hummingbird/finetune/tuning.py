"""From latents of a user's clips to a file of adapters."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hummingbird.data.latents import LatentDataset
from hummingbird.layout import Layout
from hummingbird.models.noise import NoiseSchedule
from hummingbird.params import Params
from hummingbird.pipelines.loading import check_latents, load_folder
from hummingbird.pipelines.style import BASE, base_of
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog
from hummingbird.training import processes
from hummingbird.training.lora import add_adapters, save_adapters
from hummingbird.training.methods.consistency_tuning import ConsistencyTuning
from hummingbird.training.records import fingerprint
from hummingbird.training.seeding import seeded
from hummingbird.training.trainer import Trainer
from hummingbird.training.validation import Validation
from hummingbird.training.workfolder import config_key, open_work


def tune(params: Params, student: Path, latents: Path, out: Path, log: RunLog) -> list[dict[str, float]]:
    """Train adapters for the student's pipeline in the folder ``student`` on the clips in ``latents``, and write them
    to ``out``. A run that was stopped goes on where it was.

    Returns:
        The series of the training, a row a step.

    Raises:
        UserError: the student cannot be read, the clips are none, too short or another encoder's, an unfinished
            training with other settings is found, this one is given up, or the disk cannot be written to.
    """
    settings = params.finetune
    pipeline = load_folder(student).to(processes.device())
    data = LatentDataset(latents)
    batches = data.batches(settings.optim.batch_size, settings.num_frames, settings.frame_stride, params.seed)
    check_latents(batches(0), pipeline.unet, student)
    with seeded(params.seed):
        add_adapters(pipeline.unet, settings.lora)
    method = ConsistencyTuning(
        pipeline.unet,
        NoiseSchedule(pipeline.scheduler),
        guidance=settings.guidance,
        solver_steps=pipeline.scheduler.config.original_inference_steps,
        steps=settings.optim.steps,
        huber_c=settings.huber_c,
    )
    base = base_of(student)
    name = f"{out.stem}_{config_key(os.path.relpath(out))}"  # files of one name may lie in several folders
    inputs = {"settings": settings.model_dump(mode="json"), "seed": params.seed, "base": base}
    work = open_work(Layout(), f"finetune_{name}", {**inputs, "latents": fingerprint(latents)})
    trainer = Trainer(
        method,
        batches,
        settings.optim,
        work=work,
        seed=params.seed,
        log=log,
        training=params.training,
        validation=_samples(params, pipeline, data, name, log),
        description="style",
    )
    history = trainer.fit()
    save_adapters(pipeline.unet, out, {BASE: base})
    shutil.rmtree(work, ignore_errors=True)
    return history


def _samples(params: Params, pipeline: TextToVideoPipeline, data: LatentDataset, name: str, log: RunLog) -> Validation:
    """Videos of the first captions, on a sheet every so many steps."""
    return Validation(
        pipeline,
        data.captions,
        params.finetune.optim.sample_every,
        folder=Layout().sheets("finetune") / name,
        log=log,
        guard=params.training.guard,
    )
