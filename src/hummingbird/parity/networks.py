"""Golden files of networks: denoiser, frame autoencoder, text tower and quality model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hummingbird.models.convert import dover, text, unet, vae
from hummingbird.models.convert.loading import load_public
from hummingbird.models.dover import Dover
from hummingbird.models.text_tower import build_tower, conditioning_tower, text_config
from hummingbird.models.unet import VideoUNet
from hummingbird.models.vae import posterior, reconstruct
from hummingbird.parity.backends import prepare
from hummingbird.parity.golden import Case, Golden, Kind, Setup, has_keys


def _inputs(golden: Golden, setup: Setup) -> dict[str, Tensor]:
    """The inputs on the setup's device; the real ones in its dtype."""
    return {
        name: it.to(setup.device, setup.dtype) if it.is_floating_point() else it.to(setup.device)
        for name, it in golden.under("in/").items()
    }


# Denoiser -----------------------------------------------------------------------------------------------------------


def _is_unet(golden: Golden) -> bool:
    config = golden.config.get("config", {})
    return (
        has_keys(golden.config, "cases", "middle_block")
        and has_keys(config, "model_channels", "num_res_blocks", "context_dim")
        and not config.get("image_cross_attention", False)
    )


@torch.no_grad()
def _unet_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    inputs = _inputs(golden, setup)
    for name, case in golden.config["cases"].items():
        network = prepare(_unet(golden, case), setup)
        sample = inputs[_name(case.get("x"), "x")]
        condition = inputs[_name(case.get("timestep_cond"), "timestep_cond")] if case["time_cond_proj_dim"] else None
        output = network(
            sample, inputs["timesteps"], inputs["context"], timestep_cond=condition, fps=_fps(case, inputs)
        ).sample
        yield Case.compare(name, output, golden.tensors[f"case/{name}/y"])


def _unet(golden: Golden, case: dict[str, Any]) -> VideoUNet:
    """The network of one case: it may lack the frame rate's or the guidance scale's embedding, and their weights."""
    public = golden.config["config"] | {key: case[key] for key in ("fps_cond", "time_cond_proj_dim") if key in case}
    network = unet.build_unet(unet.config_from_public(public, middle_block=golden.config["middle_block"]))
    dropped = tuple(case.get("drop_weights_prefix", ()))
    weights = {name: it for name, it in golden.under("weights/").items() if not name.startswith(dropped)}
    return load_public(network, unet.key_map(network), weights, torch.float32)


def _name(value: Any, default: str) -> str:
    """``in/x_long`` or ``in/fps (int64 tensor)`` name an input."""
    return value.split()[0].removeprefix("in/") if isinstance(value, str) else default


def _fps(case: dict[str, Any], inputs: dict[str, Tensor]) -> Tensor | None:
    """One frame rate for all, or an input that has one for each; none = the network's default."""
    value = case.get("fps")
    if isinstance(value, str):
        return inputs[_name(value, "")] if value.startswith("in/") else None
    return None if value is None else torch.tensor(value)


# Frame autoencoder --------------------------------------------------------------------------------------------------


def _is_vae(golden: Golden) -> bool:
    return has_keys(golden.config, "ddconfig", "embed_dim")


@torch.no_grad()
def _vae_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    network = vae.build_vae(vae.config_from_public(golden.config["ddconfig"], golden.config["embed_dim"]))
    prepare(load_public(network, vae.key_map(network), golden.under("weights/"), torch.float32), setup)
    inputs = _inputs(golden, setup)
    latents = posterior(network, inputs["x"])
    outputs = {
        "moments": latents.parameters,
        "mean": latents.mean,
        "logvar": latents.logvar,
        "sample": latents.mean + latents.std * inputs["noise"],
        "decoded": reconstruct(network, inputs["z"]),
        "recon_mode": reconstruct(network, latents.mode()),
    }
    for name, wanted in golden.under("out/").items():
        yield Case.compare(name, outputs[name], wanted)


# Text tower ---------------------------------------------------------------------------------------------------------


def _is_text_tower(golden: Golden) -> bool:
    return has_keys(golden.config, "width", "heads", "layers", "vocab", "context_length")


@torch.no_grad()
def _text_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    sizes = {key: golden.config[key] for key in ("width", "heads", "layers", "vocab")}
    weights = golden.under("weights/")
    context, has_scale = golden.config["context_length"], "logit_scale" in weights
    config = text_config(**sizes, context=context, has_logit_scale=has_scale)
    tower = build_tower(config)
    load_public(tower, text.key_map(tower), weights, torch.float32)
    tokens = golden.tensors["in/tokens"].to(setup.device)
    for name, network in (("penultimate", conditioning_tower(tower)), ("last", tower)):
        output = prepare(network, setup)(input_ids=tokens).last_hidden_state
        yield Case.compare(name, output, golden.tensors[f"out/{name}"])


# Quality model ------------------------------------------------------------------------------------------------------


def _is_dover(golden: Golden) -> bool:
    return has_keys(golden.config, "swin", "conv", "conv_v2", "head_hidden", "cases")


@torch.no_grad()
def _dover_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    weights = golden.under("weights/")
    network = dover.build_dover(_dover_config(golden.config, weights))
    prepare(load_public(network, dover.key_map(network), weights, torch.float32), setup)
    inputs = _inputs(golden, setup)
    for case in golden.config["cases"]:
        branch, _, number = case.partition("_")
        suffix = f"_{number}" if number else ""
        features = getattr(network, f"{branch}_backbone")(inputs[case])
        scores = getattr(network, f"{branch}_head")(features)
        yield Case.compare(f"{case} features", features, golden.tensors[f"out/{branch}_feat{suffix}"])
        yield Case.compare(f"{case} scores", scores, golden.tensors[f"out/{branch}_score{suffix}"])
    for number, example in enumerate(golden.config.get("fuse_examples", ())):
        yield _fusion(network, example, number)


def _dover_config(golden: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
    swin = golden["swin"]
    classifier = weights.get("aesthetic_backbone.head.bias")
    return {
        "technical": {
            "kind": "swin",
            "embed_dim": swin["embed_dim"],
            "depths": swin["depths"],
            "num_heads": swin["num_heads"],
            "window_size": swin["window_size"],
            "fragment_biases": swin["frag_biases"],
            "fragments": swin["window_size"][1:],
        },
        "aesthetic": {
            "kind": "convnext",
            "version": 2 if golden["conv_v2"] else 1,
            "num_classes": 0 if classifier is None else len(classifier),
            **golden["conv"],
        },
        "head_hidden": golden["head_hidden"],
    }


def _fusion(network: Dover, example: dict[str, float], number: int) -> Case:
    """Fusion is arithmetic with constants: float64, on the CPU."""
    raw = [torch.tensor(example[f"{part}_raw"], dtype=torch.float64) for part in ("aesthetic", "technical")]
    wanted = torch.tensor([example[part] for part in ("aesthetic", "technical", "overall")], dtype=torch.float64)
    return Case.compare(f"fusion {number}", torch.stack(network.fuse(*raw)), wanted, 1e-9)


KINDS = [
    Kind("denoiser", _is_unet, _unet_cases),
    Kind("autoencoder", _is_vae, _vae_cases),
    Kind("text tower", _is_text_tower, _text_cases),
    Kind("DOVER", _is_dover, _dover_cases),
]
