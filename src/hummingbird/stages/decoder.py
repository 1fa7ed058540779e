"""Stage ``decoder``: a light decoder for the latents, trained to do what the VAE's own one does."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL

from evaluation.decoder_judge import DecoderJudge, cost_of_both
from hummingbird.data.held_out import hold_out
from hummingbird.data.latents import LatentDataset
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.models.light_decoder import light_decoder_for
from hummingbird.params import Params
from hummingbird.pipelines.loading import require
from hummingbird.runlog import RunLog
from hummingbird.training import processes
from hummingbird.training.methods.decoder_distillation import DecoderDistillation
from hummingbird.training.records import fingerprint, write_curve
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import open_work


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the decoder to ``layout.decoder``; returns how near it comes to the VAE's on clips it was not trained on.

    Raises:
        UserError: VAE or latents are missing, the settings do not fit them, or the disk cannot be written to.
    """
    settings = params.decoder
    torch.manual_seed(params.seed)  # for the first weights
    vae = AutoencoderKL.from_pretrained(require(layout.foundation / "vae", "foundation"), dtype=torch.float32)
    vae.to(processes.device())
    light = light_decoder_for(
        vae, settings.channels, settings.layers_per_block, settings.norm_groups, settings.temporal
    ).to(processes.device())
    _, ids = hold_out(LatentDataset(layout.latents).index, settings.held_out, "decoder.held_out")
    data, held_out = LatentDataset(layout.latents, without=ids), LatentDataset(layout.latents, only=ids)
    inputs = fingerprint(layout.latents, layout.foundation / "vae")
    identity = {"decoder": settings.model_dump(mode="json"), "seed": params.seed, "inputs": inputs}
    work = open_work(layout, "decoder", identity)
    world = processes.count()
    judge = DecoderJudge(vae, light, held_out, settings, layout.sheets("decoder"), log)
    trainer = Trainer(
        DecoderDistillation(light, vae, settings.losses, settings.crop),
        data.batches(settings.optim.batch_size, settings.num_frames, settings.frame_stride, params.seed, world),
        settings.optim,
        work=work,
        seed=params.seed,
        log=log,
        training=params.training,
        validation=judge,
        description="light decoder",
    )
    history = trainer.fit()
    if not processes.is_main():
        return {}
    judge.draw(settings.optim.steps)
    with replacing_folder(layout.decoder) as out:
        light.save_pretrained(out)
    write_curve(layout.curve("decoder"), history)
    return {**judge.figures(), **cost_of_both(vae, light, held_out, settings.held_out_frames)}
