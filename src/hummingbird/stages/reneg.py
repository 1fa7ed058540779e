"""Stage ``reneg``: learn a negative embedding for the teacher under classifier-free guidance."""

from __future__ import annotations

import shutil

from safetensors.torch import save_file

from hummingbird.data.latents import LatentDataset
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Params
from hummingbird.pipelines.loading import NEGATIVE_EMBEDDING, load_teacher
from hummingbird.runlog import RunLog
from hummingbird.stages.stage2 import load_rewards
from hummingbird.training.methods.reneg import ReNeg
from hummingbird.training.records import fingerprint, write_curve
from hummingbird.training.trainer import Trainer, config_key


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the embedding [1, L, D], which any diffusers pipeline of this text encoder takes as
    ``negative_prompt_embeds``, to ``layout.reneg``."""
    settings = params.reneg
    teacher = load_teacher(layout.foundation)
    method = ReNeg(
        teacher,
        load_rewards(layout, settings.rewards),
        guidance_scale=settings.guidance_scale,
        steps=settings.steps,
        late_steps=settings.late_steps,
    )
    data = LatentDataset(layout.latents)
    models = [layout.foundation / name for name in ("unet", "image_reward", "video_reward")]
    inputs = fingerprint(layout.latents, *models)
    work = layout.work("reneg", config_key(settings.model_dump(), params.seed, inputs))
    trainer = Trainer(
        method,
        data.batches(settings.optim.batch_size, settings.num_frames, (1, 1), params.seed),
        settings.optim,
        work=work,
        seed=params.seed,
        log=log,
        description="ReNeg",
    )
    history = trainer.fit()
    embedding = method.negative.embedding.detach()
    with replacing_folder(layout.reneg) as out:
        save_file({"negative_prompt_embeds": embedding.contiguous()}, out / NEGATIVE_EMBEDDING)
    write_curve(layout.curve("reneg"), history)
    shutil.rmtree(work, ignore_errors=True)
    moved = embedding - teacher.encode([""])
    tail = history[-10:]
    return {
        "final_image_reward": sum(row["image_reward"] for row in tail) / len(tail),
        "final_video_reward": sum(row["video_reward"] for row in tail) / len(tail),
        "distance_from_null": float(moved.norm()),
    }
