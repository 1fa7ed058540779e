"""Stage ``stage2``: mixed image-text and video-text reward feedback on the distilled student."""

from __future__ import annotations

import copy

from hummingbird.data.held_out import hold_out
from hummingbird.data.latents import LatentDataset
from hummingbird.errors import UserError
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.models.noise import NoiseSchedule
from hummingbird.params import Params, Stage2
from hummingbird.pipelines.loading import load_pipeline, load_teacher
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog
from hummingbird.training import processes
from hummingbird.training.held_out import HeldOutRewards
from hummingbird.training.lora import add_adapters, merge_adapters
from hummingbird.training.methods.anchor import Anchor, ConsistencyAnchor, FrozenAnchor
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.methods.mixture import DecodedRewards
from hummingbird.training.methods.reward import RewardFeedback
from hummingbird.training.records import final_means, fingerprint, write_curve
from hummingbird.training.rewards import load_rewards
from hummingbird.training.seeding import seeded
from hummingbird.training.sharding import gather
from hummingbird.training.trainer import Trainer
from hummingbird.training.validation import Validation
from hummingbird.training.workfolder import open_work

MODELS = ("unet", "image_reward", "video_reward", "image_reward_eval", "video_reward_eval")


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the fine-tuned student as ``pipeline`` to ``layout.stage2``: of all that were validated the one that the
    held-out rewards like best on captions that were held out.

    Raises:
        UserError: there is nothing to learn by, or an input is missing.
    """
    settings = params.stage2
    _check(settings)
    pipeline = load_pipeline(layout, "stage1").to(processes.device())
    clips = LatentDataset(layout.latents).index
    scored, held_out = hold_out(clips, settings.validation_prompts, "stage2.validation_prompts")
    data = LatentDataset(layout.latents, without=held_out)
    anchor = make_anchor(settings, pipeline, layout, params.seed)
    frames = settings.num_frames
    mixture = load_rewards(layout.foundation, settings.rewards, frames, processes.device())
    rewards = DecodedRewards(pipeline.vae, mixture, settings.decode_frames)
    judge = None
    if scored and settings.optim.sample_every:
        judge = HeldOutRewards.load(layout.foundation, settings.rewards, pipeline.config.num_frames, processes.device())
    inputs = fingerprint(layout.latents, layout.stage1 / "pipeline", *(layout.foundation / name for name in MODELS))
    identity = {"stage2": settings.model_dump(mode="json"), "seed": params.seed, "inputs": inputs}
    work = open_work(layout, "stage2", identity)
    world = processes.count()
    trainer = Trainer(
        RewardFeedback(anchor, rewards, reward_batch=settings.reward_batch, anchor_weight=settings.anchor_weight),
        data.batches(settings.optim.batch_size, frames, settings.frame_stride, params.seed, world),
        settings.optim,
        work=work,
        seed=params.seed,
        log=log,
        training=params.training,
        validation=Validation(
            pipeline,
            data.captions,
            settings.optim.sample_every,
            folder=layout.sheets("stage2"),
            log=log,
            guard=params.training.guard,
            scorer=judge,
            scored=scored,
        ),
        description="stage 2",
    )
    history = trainer.fit()
    gather(pipeline.unet)
    merge_adapters(pipeline.unet)
    if not processes.is_main():
        return {}
    with replacing_folder(layout.stage2) as out:
        pipeline.save_pretrained(out / "pipeline")
    write_curve(layout.curve("stage2"), history)
    figures = final_means(history, ("image_reward", "video_reward", anchor.name), 20)
    if trainer.best is not None:
        figures |= {"best_step": trainer.best["step"], "best_held_out": trainer.best["score"]}
    return figures


def _check(settings: Stage2) -> None:
    rewarded = settings.rewards.image_weight or settings.rewards.video_weight
    if not rewarded and (settings.anchor == "none" or not settings.anchor_weight):
        raise UserError(
            "stage2 has nothing to train by: both rewards and the anchor have no weight",
            "give stage2.rewards.image_weight or stage2.rewards.video_weight in params.yaml",
        )


def make_anchor(settings: Stage2, pipeline: TextToVideoPipeline, layout: Layout, seed: int) -> Anchor:
    """The anchor that is asked for, around the student in ``pipeline``, which is made ready to be trained."""
    grid = pipeline.scheduler.config.original_inference_steps  # of stage 1
    student = pipeline.unet
    reference = copy.deepcopy(student) if settings.anchor == "stage1" else None
    student.requires_grad_(True)
    if settings.lora is not None:
        with seeded(seed):
            add_adapters(student, settings.lora)
    if settings.anchor != "consistency":
        return FrozenAnchor(
            student,
            reference,
            NoiseSchedule(pipeline.scheduler),
            guidance=settings.guidance,
            solver_steps=grid,
            huber_c=settings.huber_c,
            fps_condition=settings.fps_condition,
        )
    teacher = load_teacher(layout.foundation).to(processes.device())
    distillation = ConsistencyDistillation(
        student,
        GuidedTeacher(
            teacher.unet,
            teacher.encode([""]).detach(),
            precision=settings.teacher_precision,
            fps_condition=settings.fps_condition,
        ),
        NoiseSchedule(teacher.scheduler),
        guidance=settings.guidance,
        solver_steps=grid,
        huber_c=settings.huber_c,
    )
    return ConsistencyAnchor(distillation)
