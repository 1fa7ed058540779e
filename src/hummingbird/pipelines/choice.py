"""The model and its parts that a user names: one of the chain or a folder, adapters, and what decodes its latents."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError, did_you_mean
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.pipelines.decoders import load_decoder, scale_of, with_decoder
from hummingbird.pipelines.loading import INDEX, ModelName, load_folder, load_pipeline, require
from hummingbird.pipelines.style import student_folder, wear
from hummingbird.pipelines.text_to_video import TextToVideoPipeline

GUIDED = ("teacher", "reneg")  # models with an unconditional pass, which a negative prompt can replace
DECODERS = ("original", "light", "tiny")
TINY, TINY_SCALE = "taesd", (0.18215, 0.0)  # name in the catalogue; scale and shift of Stable Diffusion's latents


def choose_model(
    model: str, layout: Layout, lora: Path | None = None, lora_scale: float = 1.0
) -> tuple[TextToVideoPipeline, str | None]:
    """A model of the chain or of a folder, wearing the adapters of the file ``lora``; and what may be wrong with these.

    Raises:
        UserError: there is none, or the adapters cannot be worn by it.
    """
    base = student_folder(layout, model) if lora else None
    pipeline = load_folder(Path(model)) if is_folder(model) else load_pipeline(layout, model)
    warning = wear(pipeline, base, lora, lora_scale) if base and lora else None
    return pipeline, warning


def choose_decoder(pipeline: TextToVideoPipeline, name: str, layout: Layout) -> TextToVideoPipeline:
    """``pipeline`` with a decoder: ``original`` (the model's VAE), ``light`` (the chain's), ``tiny`` (TAESD), or a
    folder's.

    Raises:
        UserError: there is none, or it is for other latents.
    """
    if name == "original":
        return pipeline
    if name == "light":
        return with_decoder(pipeline, load_decoder(require(layout.decoder, "decoder")))
    if name != "tiny":
        if not _is_path(name):
            raise UserError(
                f"{name} is no decoder: neither {', '.join(DECODERS)} nor a folder", did_you_mean(name, DECODERS)
            )
        return with_decoder(pipeline, load_decoder(Path(name)))
    folder = Store(layout.root).path(TINY, "")
    if not folder.is_dir():
        raise UserError(f"there is no decoder at {folder}", f"fetch it: hummingbird checkpoints fetch {TINY}")
    other = with_decoder(pipeline, load_decoder(folder))
    if scale_of(pipeline.vae) != TINY_SCALE:
        raise UserError(
            f"{TINY} decodes latents of scale and shift {TINY_SCALE}, but the model's have {scale_of(pipeline.vae)}",
            "choose --decoder original or light",
        )
    return other


def is_folder(model: str) -> bool:
    """Whether a model is named by its folder: the chain's own names come first."""
    return model not in get_args(ModelName) and _is_path(model)


def is_guided(model: str) -> bool:
    """Whether a model has an unconditional pass: the samplers of few-step students have none."""
    if not is_folder(model):
        return model in GUIDED
    scheduler = read_json(Path(model) / INDEX).get("scheduler", [])
    return "LCMScheduler" not in scheduler


def _is_path(name: str) -> bool:
    return Path(name).is_dir() or len(Path(name).parts) > 1
