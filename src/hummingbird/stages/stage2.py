"""Stage ``stage2``: mixed image-text and video-text reward feedback on the distilled student."""

from __future__ import annotations

import shutil

from hummingbird.data.latents import LatentDataset
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.rewards.loading import load_reward
from hummingbird.params import Params, RewardWeights
from hummingbird.pipelines.loading import load_pipeline, load_teacher
from hummingbird.runlog import RunLog
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.methods.reward import RewardFeedback, RewardMixture
from hummingbird.training.records import fingerprint, write_curve
from hummingbird.training.samples import SampleSheets
from hummingbird.training.trainer import Trainer, config_key

SAMPLES = 6


def load_rewards(layout: Layout, weights: RewardWeights) -> RewardMixture:
    """The rewards used for training; those of the evaluation are other models."""
    return RewardMixture(
        image=load_reward(layout.foundation / "image_reward", sees="image"),
        video=load_reward(layout.foundation / "video_reward", sees="video"),
        image_weight=weights.image_weight,
        video_weight=weights.video_weight,
        image_frames=weights.image_frames,
    )


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the fine-tuned student as ``pipeline`` to ``layout.stage2``."""
    settings = params.stage2
    teacher = load_teacher(layout.foundation)
    pipeline = load_pipeline(layout, "stage1")
    data = LatentDataset(layout.latents)
    distillation = ConsistencyDistillation(
        pipeline.unet.requires_grad_(True),
        GuidedTeacher(teacher.unet, teacher.encode([""]).detach()),
        NoiseSchedule(teacher.scheduler),
        guidance=settings.guidance,
        solver_steps=pipeline.scheduler.config.original_inference_steps,  # the grid of stage 1
        huber_c=settings.huber_c,
    )
    rewards = load_rewards(layout, settings.rewards)
    method = RewardFeedback(distillation, pipeline.vae, rewards, reward_batch=settings.reward_batch)
    models = [layout.foundation / name for name in ("unet", "image_reward", "video_reward")]
    inputs = fingerprint(layout.latents, layout.stage1 / "pipeline", *models)
    work = layout.work("stage2", config_key(settings.model_dump(), params.seed, inputs))
    samples = SampleSheets(
        pipeline, data.captions[:SAMPLES], settings.optim.sample_every, folder=layout.sheets("stage2"), log=log
    )
    trainer = Trainer(
        method,
        data.batches(settings.optim.batch_size, settings.num_frames, settings.frame_stride, params.seed),
        settings.optim,
        work=work,
        seed=params.seed,
        log=log,
        on_step=samples,
        description="stage 2",
    )
    history = trainer.fit()
    with replacing_folder(layout.stage2) as out:
        pipeline.save_pretrained(out / "pipeline")
    write_curve(layout.curve("stage2"), history)
    shutil.rmtree(work, ignore_errors=True)
    tail = history[-20:]
    return {
        f"final_{name}": sum(row[name] for row in tail) / len(tail)
        for name in ("image_reward", "video_reward", "consistency")
    }
