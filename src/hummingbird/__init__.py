"""Hummingbird: a large text-to-video diffusion model made small and fast, and the proof that it worked."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded on first use: `import hummingbird` must not cost torch.
_LAZY = {
    "TextToVideoPipeline": "hummingbird.pipelines.text_to_video",
    "VideoUNet": "hummingbird.models.unet",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
