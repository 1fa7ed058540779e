"""Files of adapters: which model they were made for, and pipelines that wear them."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hummingbird.errors import UserError
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.models.checkpoints import sha256
from hummingbird.pipelines.loading import INDEX, require
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.training.lora import load_adapters, merge_adapters

BASE = "hummingbird.base"  # in a file's metadata: the weights that the adapters were trained beside
STUDENTS = ("stage1", "stage2")


def student_folder(layout: Layout, model: str) -> Path:
    """The pipeline folder of a few-step student: ``stage1``, ``stage2``, or any folder.

    Raises:
        UserError: there is none, or it holds no student.
    """
    if model in STUDENTS:
        folder = require((layout.stage1 if model == "stage1" else layout.stage2) / "pipeline", model)
    elif model in ("teacher", "pruned", "reneg"):
        raise UserError(
            f"{model} takes no style: adapters are trained for a finished few-step student",
            f"choose {' or '.join(STUDENTS)}, or the folder of a student's pipeline",
        )
    else:
        folder = Path(model)
    index = read_json(folder / INDEX)
    if not index:
        raise UserError(
            f"unknown model {model!r}: it is no folder of a pipeline", f"choose {' or '.join(STUDENTS)}, or name one"
        )
    if "LCMScheduler" not in index.get("scheduler", []):
        raise UserError(
            f"{folder} is a model of many steps, not a few-step student",
            "name a pipeline with a consistency sampler (LCMScheduler)",
        )
    return folder


def base_of(folder: Path) -> str:
    """Hash of the weights of a pipeline's denoiser."""
    files = sorted((folder / "unet").glob("*.safetensors"))
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def wear(pipeline: TextToVideoPipeline, folder: Path, adapters: Path, scale: float) -> str | None:
    """Make the adapters of a file part of ``pipeline``, which was loaded from ``folder``; scale 0 changes nothing.

    Returns:
        A warning where they were made for other weights, else None.

    Raises:
        UserError: the file is missing or damaged or belongs to another network, or the scale is not finite.
    """
    if not math.isfinite(scale):
        raise UserError(f"--lora-scale {scale} is no number", "take one from 0 (off) to 1 (as trained), or more")
    load_adapters(pipeline.unet, adapters, scale)
    merge_adapters(pipeline.unet)
    made_for = _metadata(adapters).get(BASE)
    if made_for is None:
        return f"{adapters} does not say which model it was made for"
    if made_for != base_of(folder):
        return f"{adapters} was made for other weights than those of {folder}: the style may be off"
    return None


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):  # load_adapters says what is wrong
        return {}
