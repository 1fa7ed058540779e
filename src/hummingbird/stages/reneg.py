"""Stage ``reneg``: learn a negative embedding for the teacher, or another model, under classifier-free guidance."""

from __future__ import annotations

from pathlib import Path

from diffusers import LCMScheduler

from hummingbird.data.latents import LatentDataset
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Params
from hummingbird.pipelines.loading import NEGATIVE_EMBEDDING, check_latents, load_folder, load_teacher
from hummingbird.pipelines.negative import no_unconditional_pass, save_negative
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog
from hummingbird.training import processes
from hummingbird.training.methods.mixture import DecodedRewards
from hummingbird.training.methods.reneg import ReNeg, check_learnable
from hummingbird.training.records import final_means, fingerprint, write_curve
from hummingbird.training.rewards import load_rewards
from hummingbird.training.trainer import Trainer
from hummingbird.training.validation import Validation
from hummingbird.training.workfolder import open_work

MODELS = ("unet", "scheduler", "text_encoder", "tokenizer", "vae")
REWARDS = ("image_reward", "video_reward")


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the embedding [1, L, D], which any diffusers pipeline of this text encoder takes as
    ``negative_prompt_embeds``, to ``layout.reneg``.

    Raises:
        UserError: there is no reward to learn by, no guidance to learn for, or the model cannot be used.
    """
    settings = params.reneg
    check_learnable(settings.rewards, settings.guidance_scale)
    data = LatentDataset(layout.latents)
    world = processes.count()
    batches = data.batches(settings.optim.batch_size, settings.num_frames, (1, 1), params.seed, world)
    pipeline, folder = _guided_model(settings.model, layout)
    check_latents(batches(0), pipeline.unet, folder)
    mixture = load_rewards(layout.foundation, settings.rewards, settings.num_frames, processes.device())
    method = ReNeg(
        pipeline,
        DecodedRewards(pipeline.vae, mixture, settings.decode_frames),
        guidance_scale=settings.guidance_scale,
        steps=settings.steps,
        late_steps=settings.late_steps,
    )
    null_text = method.negative.embedding.detach().clone()
    models = [folder / name for name in MODELS] + [layout.foundation / name for name in REWARDS]
    inputs = fingerprint(layout.latents, *models)
    identity = {"reneg": settings.model_dump(mode="json"), "seed": params.seed, "inputs": inputs}
    work = open_work(layout, "reneg", identity)
    trainer = Trainer(
        method,
        batches,
        settings.optim,
        work=work,
        seed=params.seed,
        log=log,
        training=params.training,
        validation=_samples(params, pipeline, method, data, layout, log),
        description="ReNeg",
    )
    history = trainer.fit()
    if not processes.is_main():
        return {}
    embedding = method.negative.embedding.detach()
    with replacing_folder(layout.reneg) as out:
        save_negative(embedding, out / NEGATIVE_EMBEDDING)
    write_curve(layout.curve("reneg"), history)
    return {
        **final_means(history, REWARDS, 10),
        "distance_from_null": float((embedding - null_text.to(embedding)).norm()),
    }


def _guided_model(model: str, layout: Layout) -> tuple[TextToVideoPipeline, Path]:
    """The model that the embedding is for, and its folder."""
    if model == "teacher":
        return load_teacher(layout.foundation).to(processes.device()), layout.foundation
    folder = layout.root / model
    pipeline = load_folder(folder)
    if isinstance(pipeline.scheduler, LCMScheduler):
        raise no_unconditional_pass(model, "negative embedding")
    return pipeline.to(processes.device()), folder


def _samples(
    params: Params, pipeline: TextToVideoPipeline, method: ReNeg, data: LatentDataset, layout: Layout, log: RunLog
) -> Validation:
    """Videos with the embedding as it is. They are not scored: the last embedding is the result."""
    pipeline.negative_prompt_embeds = method.negative.embedding
    return Validation(
        pipeline,
        data.captions,
        params.reneg.optim.sample_every,
        folder=layout.sheets("reneg"),
        log=log,
        guard=params.training.guard,
    )
