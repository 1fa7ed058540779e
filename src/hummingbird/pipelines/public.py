"""Folders that a pipeline loads, made of public checkpoints: the foundation of the chain, or a published model alone.

Defaults of a call are those that the models were published with; ``guidance_scale`` is g in ``uncond + g (cond -
uncond)``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, LCMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from hummingbird.checkpoints.inventory import verified
from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError, did_you_mean
from hummingbird.models.convert.assemble import assemble, plan
from hummingbird.models.convert.networks import PUBLISHED, Kind, Networks, Vocabulary, find_network
from hummingbird.models.noise import videocrafter_scheduler
from hummingbird.models.unet import VideoUNet
from hummingbird.params import PublicCheckpoints
from hummingbird.pipelines.loading import student_scheduler
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog

_SIZE = {"num_frames": 16, "sample_size": (320, 512)}
#: How VideoCrafter2 is sampled.
TEACHER: dict[str, Any] = {"num_inference_steps": 50, "guidance_scale": 12.0, "fps": 28, **_SIZE}
#: How Hummingbird is sampled: w = 7.5 in ``cond + w (cond - uncond)``.
STUDENT: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 8.5, "fps": 16, **_SIZE}
#: The denoisers of which ``hummingbird checkpoints convert`` makes a pipeline, and how they are sampled.
MODELS = {"videocrafter2": TEACHER, "hummingbird-0.7b": STUDENT}
_AROUND, _TOKENIZER = "videocrafter2", "clip-vit-h-14"  # VAE and text encoder of all of them; the tokenizer


def write_foundation(
    chosen: PublicCheckpoints,
    store: Store,
    target: Path,
    work: Path,
    log: RunLog,
    networks: Networks = PUBLISHED,
) -> None:
    """Make the foundation of the checkpoints that were ``chosen``; it is a pipeline folder of the teacher, too.

    There is no probe: that one knows the miniature's world only.

    Raises:
        UserError: a checkpoint is not there, damaged, or not what its part needs; or the disk is full.
    """
    wanted: dict[str, tuple[Kind, str]] = {
        "unet": ("unet", chosen.teacher),
        "vae": ("vae", chosen.teacher),
        "text_encoder": ("text_encoder", chosen.teacher),
        "tokenizer": ("tokenizer", chosen.tokenizer),
        "dover": ("dover", chosen.dover),
        "recaptioner": ("recaptioner", chosen.recaptioner),
        "image_reward": ("image_reward", chosen.image_reward),
        "image_reward_eval": ("image_reward", chosen.image_reward_eval),
        "video_reward": ("video_reward", chosen.video_reward),
        "video_reward_eval": ("video_reward", chosen.video_reward_eval),
    }
    tokenizers: dict[Vocabulary, str] = {"clip": chosen.tokenizer, "bert": chosen.video_reward_tokenizer}
    for kind, name in wanted.values():
        find_network(name, kind, networks)  # before minutes go into reading them all
    parts = plan(wanted, tokenizers, verified(store, chosen.names, log), networks)
    finish = partial(write_index, scheduler=videocrafter_scheduler(), defaults=TEACHER)
    assemble(parts, target, work, log, command="hummingbird stage foundation", finish=finish)


def write_model(name: str, store: Store, out: Path, log: RunLog, networks: Networks = PUBLISHED) -> None:
    """Make a pipeline folder of a published denoiser with VideoCrafter2's autoencoder and text encoder.

    Raises:
        UserError: it is no denoiser; a checkpoint is not there, damaged, or not what its name says; or ``out`` cannot
            be written.
    """
    if name not in MODELS:
        raise UserError(f"no pipeline can be made of checkpoint {name!r}", did_you_mean(name, MODELS))
    wanted: dict[str, tuple[Kind, str]] = {
        "unet": ("unet", name),
        "vae": ("vae", _AROUND),
        "text_encoder": ("text_encoder", _AROUND),
        "tokenizer": ("tokenizer", _TOKENIZER),
    }
    names = dict.fromkeys(checkpoint for _, checkpoint in wanted.values())
    parts = plan(wanted, {}, verified(store, names, log), networks)
    teacher = videocrafter_scheduler()
    scheduler = teacher if MODELS[name] is TEACHER else student_scheduler(teacher)
    assemble(
        parts,
        out,
        out.with_name(f".{out.name}.work"),
        log,
        command=f"hummingbird checkpoints convert {name}",
        finish=partial(write_index, scheduler=scheduler, defaults=MODELS[name]),
    )


def write_index(folder: Path, scheduler: DDIMScheduler | LCMScheduler, defaults: dict[str, Any]) -> None:
    """Add ``scheduler`` and diffusers' ``model_index.json`` to a ``folder`` of networks. No weights are read.

    ``defaults`` are arguments of :class:`TextToVideoPipeline`.
    """
    scheduler.save_pretrained(folder / "scheduler")
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
        unet = VideoUNet.from_config(VideoUNet.load_config(folder / "unet"))
    pipeline = TextToVideoPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=unet,
        scheduler=scheduler,
        **defaults,
    )
    pipeline.save_config(folder)
