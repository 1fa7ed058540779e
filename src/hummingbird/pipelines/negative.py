"""Negative embeddings as files: read, checked against a model, and converted from the public form.

An embedding is a text encoder's output [1, L, D] that takes the place of the empty prompt's in classifier-free
guidance. The public ones of ReNeg (arXiv:2412.19637) are pickles that hold just the tensor.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import LCMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from hummingbird.errors import UserError
from hummingbird.files import replacing
from hummingbird.pipelines.text_to_video import TextToVideoPipeline

NAME = "negative_prompt_embeds"  # of the tensor in a safetensors file: diffusers' own word
#: (L, D) of ReNeg's public embeddings -> (what they were learned for, their text encoder).
PUBLIC = {
    (77, 768): ("Stable Diffusion 1.4 and 1.5", "CLIP ViT-L/14"),
    (77, 1024): ("Stable Diffusion 2.1", "OpenCLIP ViT-H/14"),  # the shape of VideoCrafter2's text, too
    (120, 4096): ("PixArt-alpha", "T5-v1.1-XXL"),
}
_ENCODERS = {width: encoder for (_, width), (_, encoder) in PUBLIC.items()}


def load_negative(file: Path) -> Tensor:
    """The embedding [1, L, D] of a safetensors file or a pickle (.bin, .pt), float32. Of a pickle only tensors are
    read; nothing in it is run.

    Raises:
        UserError: there is no such file, it cannot be read, or it holds something else.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}", "name a .safetensors or .bin file with a negative embedding")
    try:
        found = load_file(file) if file.suffix == ".safetensors" else _unpickle(file)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} cannot be read: {reason}", "fetch or make it again") from error
    if isinstance(found, dict):
        found = found.get(NAME, next(iter(found.values())) if len(found) == 1 else None)
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.ndim not in (2, 3):
        raise UserError(f"{file} holds no negative embedding", "it should be one tensor [1, tokens, width]")
    embedding = found.float().reshape(-1, *found.shape[-2:])
    if len(embedding) != 1 or not embedding.isfinite().all():
        what = "several embeddings" if len(embedding) != 1 else "numbers that are not finite"
        raise UserError(f"{file} holds {what}", "it should be one finite tensor [1, tokens, width]")
    return embedding


def save_negative(embedding: Tensor, file: Path) -> None:
    """Write an embedding [1, L, D] as safetensors, which any diffusers pipeline of its text encoder takes as
    ``negative_prompt_embeds``."""
    with replacing(file) as part:
        save_file({NAME: embedding.detach().float().cpu().contiguous()}, part)


def convert_negative(file: Path, out: Path) -> str:
    """Write the embedding of ``file`` as safetensors; returns a line about what it is.

    Raises:
        UserError: as of :func:`load_negative`, or ``out`` is no safetensors file.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out} is not the name of a safetensors file", "give a name that ends in .safetensors")
    embedding = load_negative(file)
    save_negative(embedding, out)
    return f"{out}: {describe(embedding)}"


def describe(embedding: Tensor) -> str:
    """Its shape, and what it is for where that follows from it."""
    length, width = embedding.shape[1:]
    public = PUBLIC.get((length, width))
    known = f", as ReNeg's for {public[0]} ({public[1]})" if public else ""
    return f"{length} tokens of width {width}{known}"


def use_negative(pipeline: TextToVideoPipeline, embedding: Tensor, origin: str) -> None:
    """Make ``pipeline`` sample with ``embedding`` [1, L, D]; ``origin`` names it in errors.

    Raises:
        UserError: the model has no unconditional pass, or reads another text encoder.
    """
    if isinstance(pipeline.scheduler, LCMScheduler):
        raise no_unconditional_pass("this model", "negative embedding")
    length, width = embedding.shape[1:]
    expected = (int(pipeline.tokenizer.model_max_length), int(pipeline.unet.config.cross_attention_dim))
    if width != expected[1]:
        encoder = _ENCODERS.get(width, "another text encoder")
        raise UserError(
            f"{origin} is of width {width}, for {encoder}, but this model reads text of width {expected[1]}",
            f"take an embedding that was learned with {_ENCODERS.get(expected[1], 'its text encoder')}, "
            "or learn one: dvc repro reneg",
        )
    if length != expected[0]:
        raise UserError(
            f"{origin} has {length} tokens, but the prompts of this model have {expected[0]}",
            "take an embedding that was learned with its tokenizer, or learn one: dvc repro reneg",
        )
    pipeline.negative_prompt_embeds = embedding


def no_unconditional_pass(model: str, what: str) -> UserError:
    """Why a guidance-distilled student takes nothing negative, and what it has in its place."""
    return UserError(
        f"{model} takes no {what}: a guidance-distilled student has no unconditional pass, for the guidance is in its "
        "weights",
        "choose a model that samples with guidance (--model teacher or reneg); a student is turned to what rewards "
        "prefer by stage 2",
    )


def _unpickle(file: Path) -> object:
    return torch.load(file, map_location="cpu", weights_only=True)
