"""One video from one prompt, into a file: what `hummingbird generate` does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

import hummingbird
from hummingbird import provenance, storage
from hummingbird.data.mp4_tags import write_tagged_mp4
from hummingbird.data.video_io import Video
from hummingbird.errors import UserError
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.models.text import check_prompt
from hummingbird.models.vae import downscale_factor, patch_size
from hummingbird.ops.tracking import record_path
from hummingbird.pipelines.choice import choose_decoder, choose_model, is_guided
from hummingbird.pipelines.negative import load_negative, no_unconditional_pass, use_negative
from hummingbird.runlog import RunLog, SilentLog

if TYPE_CHECKING:
    from hummingbird.pipelines.text_to_video import TextToVideoPipeline
    from hummingbird.training.per_prompt import Fit

VIEWABLE = 256  # pixels; smaller frames are enlarged to at least this height unless the caller says otherwise
SHARE_OF_MEMORY = 0.8
# Peak memory of a forward pass, in copies of the tensor behind the first convolution (frames x height x width x
# channels). 64: measured with the miniature teacher on a CPU at 512 frames (0.33 MB a frame, two passes). The VAE keeps
# a few such tensors at a time: input, output and normalised copy of a convolution, and the skip, at two resolutions.
UNET_VALUES = 64
VAE_VALUES = 8
BYTES = 4  # float32
DECODERS = {"light": "artifacts/decoder", "tiny": "checkpoints/files/taesd"}  # where they lie


@dataclass(frozen=True)
class Request:
    """What to generate; None = the model's own default.

    ``model`` is one of the chain's, or a pipeline folder. ``scale`` enlarges every pixel to ``scale`` x ``scale``;
    ``frames`` counts video frames, ``guidance`` is g in ``uncond + g (cond - uncond)``. ``negative_embedding`` names a
    file with what takes the place of the empty prompt's embedding; ``fit_negative`` fits that embedding to the prompt,
    by what the model's own VAE decodes. ``lora`` is a file of adapters, whose output is multiplied by ``lora_scale``.
    ``decoder`` is ``original`` (the model's VAE), ``light`` (the chain's), ``tiny`` (TAESD) or a decoder's folder.
    """

    prompt: str
    out: Path
    model: str = "stage2"
    seed: int = 0
    steps: int | None = None
    frames: int | None = None
    guidance: float | None = None
    negative: str | None = None
    scale: int | None = None
    negative_embedding: Path | None = None
    fit_negative: bool = False
    lora: Path | None = None
    lora_scale: float = 1.0
    decoder: str = "original"


@dataclass(frozen=True)
class Made:
    """What was written: (frames, height, width, 3), the words of the prompt that the model was never taught, how the
    negative embedding was fitted, where it was, and what may be wrong with the adapters."""

    shape: tuple[int, ...]
    unknown_words: tuple[str, ...]
    fit: Fit | None = None
    warning: str | None = None


def generate(request: Request, layout: Layout, log: RunLog | None = None) -> Made:
    """Generate the video and write it as MP4, which carries what it was made from and with (:func:`facts`).

    Raises:
        UserError: an empty or unknown prompt, options that the model does not have, a decoder for other latents, more
            frames than fit in memory, a model that has not been made, or a file that cannot be written.
    """
    _check_options(request)
    original, warning = choose_model(request.model, layout, request.lora, request.lora_scale)
    original.to("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = choose_decoder(original, request.decoder, layout)
    _check_steps(pipeline, request)
    frames = request.frames or pipeline.config.num_frames
    _check_memory(pipeline, frames, passes=2 if is_guided(request.model) else 1)
    if request.negative_embedding is not None:
        file = request.negative_embedding
        use_negative(original, load_negative(file), str(file))
    fit = _fit_negative(original, request, frames, layout, log or SilentLog()) if request.fit_negative else None
    pipeline.negative_prompt_embeds = original.negative_prompt_embeds
    pipeline.set_progress_bar_config(disable=None, desc="sampling", leave=False)  # None: only on a terminal
    videos = pipeline(
        [request.prompt],
        seeds=[request.seed],
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        negative_prompt=request.negative,
        num_frames=frames,
    )
    video = enlarge(np.asarray(videos[0]), request.scale)
    told = facts(request, pipeline, video.shape[1] // len(videos[0][0]), frames, layout)
    write_tagged_mp4(request.out, video, pipeline.config.fps, told)
    return Made(video.shape, tuple(unknown_words(pipeline, request.prompt)), fit, warning)


def facts(request: Request, pipeline: TextToVideoPipeline, scale: int, frames: int, layout: Layout) -> dict[str, Any]:
    """What it takes to make the video again; the same whenever it is made from the same checkout on the same device.

    The settings as ``hummingbird generate`` takes them, hashes of the weights and files that were read, the MLflow runs
    that made the weights, the code, and what computed.
    """
    read = [*provenance.WEIGHTS.get(request.model, (request.model,))]
    read += ["artifacts/foundation"] if request.fit_negative else []
    read += [] if request.decoder == "original" else [DECODERS.get(request.decoder, request.decoder)]
    weights = provenance.weights(layout.root, read)
    records = {path: read_json(record_path(layout, Path(path).name)) for path in weights}
    guidance = pipeline.config.guidance_scale if request.guidance is None else request.guidance
    told = {
        "prompt": request.prompt,
        "model": request.model,
        "seed": request.seed,
        "steps": request.steps or pipeline.config.num_inference_steps,
        "frames": frames,
        "guidance": float(guidance),
        "negative": request.negative,
        "scale": scale,
        "decoder": request.decoder,
        "negative_embedding": _file_fact(request.negative_embedding),
        "fit_negative": request.fit_negative or None,
        "lora": _file_fact(request.lora),
        "lora_scale": request.lora_scale if request.lora else None,
        "weights": weights,
        "runs": {path: it.get("run_id") or it.get("run_key") for path, it in records.items() if it},
        "code": provenance.code(layout.root),
        "versions": {"hummingbird": hummingbird.__version__, "torch": torch.__version__},
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    return {name: value for name, value in told.items() if value is not None}


def _file_fact(file: Path | None) -> dict[str, str] | None:
    return {"file": str(file), "sha256": storage.sha256_of(file)} if file else None


def enlarge(video: Video, scale: int | None) -> Video:
    """Repeat every pixel of [T, H, W, 3] ``scale`` times along both sides; None: as often as reaches 256 pixels."""
    if scale is None:
        scale = max(1, math.ceil(VIEWABLE / video.shape[1]))
    return np.ascontiguousarray(video.repeat(scale, axis=1).repeat(scale, axis=2))


def unknown_words(pipeline: TextToVideoPipeline, prompt: str) -> list[str]:
    """Words of the prompt that the tokenizer has to spell in pieces; the miniature was not taught what they mean."""
    return [word for word in prompt.split() if len(pipeline.tokenizer.tokenize(word)) != 1]


def frame_limit(pipeline: TextToVideoPipeline, passes: int, free_bytes: float) -> int:
    """How many frames ``free_bytes`` of memory are enough for, by the size of the widest layers of UNet and VAE."""
    height, width = pipeline.config.sample_size
    latent = height * width // downscale_factor(pipeline.vae) ** 2
    unet = UNET_VALUES * passes * latent * pipeline.unet.config.block_out_channels[0]
    patches = height * width // patch_size(pipeline.vae) ** 2
    vae = VAE_VALUES * patches * pipeline.vae.config.block_out_channels[0]
    return int(free_bytes // (BYTES * max(unet, vae)))


def _fit_negative(pipeline: TextToVideoPipeline, request: Request, frames: int, layout: Layout, log: RunLog) -> Fit:
    """Fit the negative embedding to the video that is asked for, as the model's own VAE decodes it."""
    from hummingbird.params import load_params
    from hummingbird.training.per_prompt import Sampling, fit_model

    check_prompt(pipeline.tokenizer, request.prompt)
    sampling = Sampling(
        request.prompt,
        request.seed,
        request.steps or pipeline.config.num_inference_steps,
        pipeline.config.guidance_scale if request.guidance is None else request.guidance,
        frames,
        pipeline.config.fps,
    )
    return fit_model(pipeline, sampling, load_params(layout.root / "params.yaml").reneg, layout, log)


def _check_steps(pipeline: TextToVideoPipeline, request: Request) -> None:
    """A student's consistency sampler subdivides the solver grid that it was distilled on."""
    most = pipeline.scheduler.config.get("original_inference_steps")
    if most is not None and request.steps is not None and request.steps > most:
        raise UserError(
            f"{request.model} samples in 1 to {most} steps, not {request.steps}",
            f"{pipeline.config.num_inference_steps} is what it was trained for",
        )


def _check_memory(pipeline: TextToVideoPipeline, frames: int, passes: int) -> None:
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
    limit = frame_limit(pipeline, passes, SHARE_OF_MEMORY * free)
    if frames > limit:
        raise UserError(
            f"{frames} frames need about {free * SHARE_OF_MEMORY * frames / max(limit, 1) / 1e9:.1f} GB of memory, "
            f"but {free / 1e9:.1f} GB are free",
            f"ask for at most {limit} frames: --frames {limit}",
        )


def _check_options(request: Request) -> None:
    """Refuse what no model load is needed to refuse."""
    if request.out.suffix.lower() != ".mp4":
        raise UserError(f"cannot write {request.out}: only MP4 files are written", "give a name that ends in .mp4")
    if request.out.is_dir():
        raise UserError(f"cannot write {request.out}: it is a folder", "give the name of a file")
    asked = {
        "negative prompt": request.negative is not None,
        "negative embedding": request.negative_embedding is not None or request.fit_negative,
    }
    for what, is_asked in asked.items():
        if is_asked and not is_guided(request.model):
            raise no_unconditional_pass(request.model, what)
    if all(asked.values()):
        raise UserError(
            "a negative prompt and a negative embedding exclude each other: both take the place of the empty prompt",
            "leave --negative out, or --negative-embedding and --fit-negative",
        )
