"""Low-rank adapters (LoRA, arXiv:2106.09685) of a denoiser, by peft: add, merge, save and load.

Every linear and convolutional layer gets one: W x becomes W x + (alpha / rank) B A x, with B = 0 at first. A layer that
cannot hold the full rank gets what it can, with the same factor alpha / rank.

A file of adapters is a safetensors file as diffusers' pipelines write it (``unet.LAYER.lora_A.weight``, the settings in
its metadata), so their tools read it; files without metadata are read as scaled by 1, as diffusers reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.files import replacing
from hummingbird.models.unet import VideoUNet
from hummingbird.params import Lora

_PREFIXES = ("unet.", "base_model.model.")  # of diffusers' pipelines, and of peft itself
_WRITE = "name the file that `hummingbird finetune` wrote, or another LoRA of this network's layers"


def add_adapters(unet: VideoUNet, lora: Lora, *, whole: Iterable[str] = ()) -> None:
    """Freeze ``unet`` and put trainable adapters beside all its linear and convolutional layers, in place.

    The first weights are those of Hummingbird's: A ~ N(0, 1 / rank^2) from the global generator, B zero.

    Args:
        whole: names of layers that are trained themselves in place of an adapter, such as one that is new.
    """
    kept = frozenset(whole)
    ranks = {name: min(lora.rank, *_sizes(layer)) for name, layer in _layers(unet).items() if name not in kept}
    scale = lora.alpha / lora.rank
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any number serves
        lora_dropout=lora.dropout,
        init_lora_weights="gaussian",
        target_modules=list(ranks),
        rank_pattern={_exactly(name): rank for name, rank in ranks.items() if rank != lora.rank},
        alpha_pattern={_exactly(name): rank * scale for name, rank in ranks.items() if rank != lora.rank},
    )
    inject_adapter_in_model(config, unet)
    for name in kept:
        unet.get_submodule(name).requires_grad_(True)


def merge_adapters(unet: VideoUNet) -> None:
    """Add what the adapters do to the weights and take them away: the network is a plain one again, in place."""
    for name, module in list(unet.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(unet.get_submodule(parent), child, module.get_base_layer())
    if hasattr(unet, "peft_config"):
        del unet.peft_config


def save_adapters(unet: VideoUNet, path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write the adapters of ``unet``, whole or not at all. Layers that are trained whole are not in the file.

    Args:
        about: more for the file's metadata.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    weights = {f"unet.{name}": value.contiguous() for name, value in get_peft_model_state_dict(unet).items()}
    settings = {
        f"unet.{name}": sorted(value) if isinstance(value, set) else value
        for name, value in unet.peft_config["default"].to_dict().items()
    }
    metadata = {"format": "pt", LORA_ADAPTER_METADATA_KEY: json.dumps(settings, indent=2, sort_keys=True)}
    metadata |= about or {}
    with replacing(path) as part:
        save_file(weights, part, metadata=metadata)


def load_adapters(unet: VideoUNet, path: Path, scale: float = 1.0) -> None:
    """Put the adapters of a file into ``unet``, their output times ``scale``; :func:`merge_adapters` makes them part
    of its weights.

    Raises:
        UserError: the file is missing or damaged, holds something else, or belongs to another network.
    """
    weights, settings = _read(path)
    ranks = {name.removesuffix(".lora_A.weight"): len(value) for name, value in weights.items() if ".lora_A." in name}
    _check(unet, weights, ranks, path)
    alphas = {name: rank * _scaling(settings, name, rank) * scale for name, rank in ranks.items()}
    config = LoraConfig(
        target_modules=list(ranks),
        rank_pattern={_exactly(name): rank for name, rank in ranks.items()},
        alpha_pattern={_exactly(name): alpha for name, alpha in alphas.items()},
    )
    inject_adapter_in_model(config, unet)
    set_peft_model_state_dict(unet, weights)


def _layers(unet: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    return {name: module for name, module in unet.named_modules() if isinstance(module, kinds)}


def _sizes(layer: Any) -> tuple[int, int]:
    """Widths of a layer's input and output."""
    out, into = layer.weight.shape[:2]
    return into, out


def _exactly(name: str) -> str:
    """``name`` as a pattern of peft's, which would else also match longer names that end with it."""
    return f"^{name}"


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file by the denoiser's names, and its settings (none where it has no metadata)."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", _WRITE)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            settings = json.loads((file.metadata() or {}).get(LORA_ADAPTER_METADATA_KEY, "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as a LoRA: {error}", _WRITE) from error
    return {_bare(name): value for name, value in tensors.items()}, {_bare(k): v for k, v in settings.items()}


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _check(unet: VideoUNet, weights: Mapping[str, Tensor], ranks: Mapping[str, int], path: Path) -> None:
    """Whether ``weights`` are pairs of factors whose products have the shapes of the network's layers."""
    layers = _layers(unet)
    wanted = {f"{name}.lora_{factor}.weight" for name in ranks for factor in "AB"}
    if not weights or (odd := sorted(set(weights) ^ wanted)):
        raise UserError(f"{path} is no LoRA of a denoiser: {odd[0] if weights else 'it is empty'}", _WRITE)
    for name, rank in ranks.items():
        a, b = (weights[f"{name}.lora_{factor}.weight"] for factor in "AB")
        if name not in layers:
            raise UserError(f"{path} does not fit: the network has no layer {name}", _WRITE)
        into, out = _sizes(layers[name])
        if a.shape[1:2] != (into,) or b.shape[:2] != (out, rank):
            raise UserError(
                f"{path} does not fit: its {name} leads from {a.shape[1]} to {len(b)} channels, the network's from "
                f"{into} to {out}",
                _WRITE,
            )


def _scaling(settings: Mapping[str, Any], name: str, rank: int) -> float:
    """alpha / rank (or the root of it, rsLoRA) of a layer, by a file's settings."""
    patterns: Mapping[str, float] = settings.get("alpha_pattern") or {}
    alpha = patterns.get(get_pattern_key(list(patterns), name), settings.get("lora_alpha", rank))
    return float(alpha) / (rank**0.5 if settings.get("use_rslora") else rank)
