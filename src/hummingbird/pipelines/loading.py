"""The models of the chain, by name, as ready pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers import AutoencoderKL, DDIMScheduler, LCMScheduler
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from hummingbird.errors import UserError, did_you_mean
from hummingbird.layout import Layout
from hummingbird.models.unet import VideoUNet
from hummingbird.pipelines.text_to_video import TextToVideoPipeline

ModelName = Literal["teacher", "pruned", "stage1", "stage2", "reneg"]

STUDENT_STEPS = 4
STUDENT_GUIDANCE = 3.5
INDEX = "model_index.json"  # of diffusers
NEGATIVE_EMBEDDING = "negative_embedding.safetensors"


def student_scheduler(teacher: DDIMScheduler, solver_steps: int = 50) -> LCMScheduler:
    """The multi-step consistency sampler on the teacher's noise schedule and the solver grid of the distillation."""
    return LCMScheduler.from_config(teacher.config, original_inference_steps=solver_steps, timestep_scaling=10.0)


def require(path: Path, made_by: str) -> Path:
    """``path``, or an error that says which stage makes it."""
    if not path.exists():
        raise UserError(f"there is no model at {path}", f"make it: dvc repro {made_by}")
    return path


def load_teacher(foundation: Path) -> TextToVideoPipeline:
    """The foundation's teacher with its VAE and text encoder.

    One that was converted is a pipeline folder, which says how the teacher is sampled; the miniature is sampled as the
    pipeline's own defaults say.
    """
    require(foundation / "unet", "foundation")
    if (foundation / INDEX).is_file():
        return load_folder(foundation)
    pipeline = TextToVideoPipeline(
        vae=AutoencoderKL.from_pretrained(foundation / "vae", dtype=torch.float32),
        text_encoder=CLIPTextModel.from_pretrained(foundation / "text_encoder", dtype=torch.float32),
        tokenizer=CLIPTokenizer.from_pretrained(foundation / "tokenizer"),
        unet=VideoUNet.from_pretrained(foundation / "unet", dtype=torch.float32),
        scheduler=DDIMScheduler.from_pretrained(foundation / "scheduler"),
    )
    return _frozen(pipeline)


def load_folder(folder: Path) -> TextToVideoPipeline:
    """The pipeline saved in ``folder``.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not (folder / INDEX).is_file():
        raise UserError(f"{folder} holds no pipeline", f"name a folder with {INDEX}, or a model of the chain")
    try:
        return _frozen(TextToVideoPipeline.from_pretrained(folder, dtype=torch.float32))
    except (OSError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"the pipeline in {folder} cannot be read: {error}", "make it again, or name another folder"
        ) from error


def check_latents(batch: Mapping[str, Any], unet: VideoUNet, folder: Path) -> None:
    """Refuse to train on a batch of clips with a denoiser from ``folder`` that takes other latents or other text.

    The clips are encoded by the foundation's VAE and text encoder, which a folder's pipeline need not share.
    """
    made = (batch["latents"].shape[1], batch["text"].shape[-1])
    takes = (unet.config.in_channels, unet.config.cross_attention_dim)
    if made != takes:
        raise UserError(
            f"{folder} takes latents of {takes[0]} channels and text {takes[1]} wide; the models in "
            f"artifacts/foundation, which encoded the clips, make {made[0]} and {made[1]}",
            "make the foundation that this model belongs to: hummingbird profile use NAME, dvc repro foundation",
        )


def student_pipeline(teacher: TextToVideoPipeline, unet: VideoUNet, solver_steps: int = 50) -> TextToVideoPipeline:
    """A few-step pipeline around ``unet`` that shares everything else with the teacher."""
    return _frozen(
        TextToVideoPipeline(
            vae=teacher.vae,
            text_encoder=teacher.text_encoder,
            tokenizer=teacher.tokenizer,
            unet=unet,
            scheduler=student_scheduler(teacher.scheduler, solver_steps),
            num_inference_steps=STUDENT_STEPS,
            guidance_scale=STUDENT_GUIDANCE,
            num_frames=teacher.config.num_frames,
            fps=teacher.config.fps,
            sample_size=teacher.config.sample_size,
        )
    )


def load_pipeline(layout: Layout, model: str) -> TextToVideoPipeline:
    """Load one of the chain's models: ``teacher``, ``pruned``, ``stage1``, ``stage2``, or ``reneg`` (the teacher with
    the learned negative embedding).

    Raises:
        UserError: unknown name, or the stage that makes the model has not run.
    """
    if model not in get_args(ModelName):
        raise UserError(f"unknown model {model!r}", did_you_mean(model, get_args(ModelName)))
    if model == "teacher":
        return load_teacher(layout.foundation)
    if model == "reneg":
        file = require(layout.reneg / NEGATIVE_EMBEDDING, "reneg")
        teacher = load_teacher(layout.foundation)
        teacher.negative_prompt_embeds = load_file(file)["negative_prompt_embeds"]
        return teacher
    if model == "pruned":  # sampled as stage 1, whose start it is
        pipeline = load_pipeline(layout, "stage1")
        unet = VideoUNet.from_pretrained(require(layout.stage1 / "pruned", "stage1"), dtype=torch.float32)
        pipeline.register_modules(unet=unet)
        return _frozen(pipeline)
    folder = layout.stage1 if model == "stage1" else layout.stage2
    return _frozen(TextToVideoPipeline.from_pretrained(require(folder / "pipeline", model), dtype=torch.float32))


def _frozen(pipeline: TextToVideoPipeline) -> TextToVideoPipeline:
    for component in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        component.requires_grad_(False).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
