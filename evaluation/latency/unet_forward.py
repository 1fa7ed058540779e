"""One forward pass of our UNet against diffusers' of equal configuration and weights, in turns within one process.

    python -m evaluation.latency.unet_forward --size mid

Writes a JSON file with the conditions, every time measured, ratios with bootstrap intervals, peak memory and the shares
of the operations, and prints it as tables. Only the ratios of one run mean something: the seconds are this machine's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import torch
import typer
from diffusers import UNet3DConditionModel
from torch import Tensor, nn

from evaluation.latency.harness import describe, speedup, synchronise
from evaluation.latency.machine import measured_peak_bytes, where_and_what
from evaluation.latency.operations import profile_operations
from evaluation.latency.unet_tables import as_text
from hummingbird.errors import UserError, did_you_mean
from hummingbird.files import write_json
from hummingbird.models.unet import VideoUNet

RESULTS = Path(__file__).parent / "results"
DIFFUSERS, OURS = "diffusers", "ours"

#: Mode -> dtype of the weights and inputs, and of autocast if that is on.
MODES: dict[str, tuple[torch.dtype, torch.dtype | None]] = {
    "float32": (torch.float32, None),
    "autocast-bfloat16": (torch.float32, torch.bfloat16),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
}


@dataclass(frozen=True)
class Size:
    """What a forward pass is measured on: the network and one batch of latents and text."""

    channels: tuple[int, ...]
    attention_head_dim: int
    context: int
    tokens: int
    frames: int
    height: int
    width: int
    batch: int = 1


SIZES = {
    "tiny": Size((32, 64), 16, 24, 5, 3, 4, 6),  # for tests
    "mid": Size((160, 320, 640, 640), 32, 1024, 77, 16, 16, 32),
    "paper": Size((320, 640, 1280, 1280), 64, 1024, 77, 16, 40, 64),
}


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often."""

    modes: tuple[str, ...] = ("float32",)
    repeats: int = 6
    warmup: int = 1
    seed: int = 0
    compiled: bool = False


Call = Callable[[], Tensor]


def build_networks(size: Size, seed: int, device: torch.device) -> dict[str, nn.Module]:
    """diffusers' network and ours with the very same weights; layers that start as zero are drawn, too."""
    levels = len(size.channels)
    config = {
        "down_block_types": ("CrossAttnDownBlock3D",) * (levels - 1) + ("DownBlock3D",),
        "up_block_types": ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * (levels - 1),
        "block_out_channels": size.channels,
        "cross_attention_dim": size.context,
        "attention_head_dim": size.attention_head_dim,
    }
    torch.manual_seed(seed)
    theirs = UNet3DConditionModel(**config).eval().requires_grad_(False)
    for weight in theirs.parameters():
        if not weight.any():
            weight.normal_(0, 0.02)
    theirs.to(device)
    with torch.device("meta"):
        ours = VideoUNet(**config, fps_condition=False).eval().requires_grad_(False)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    return {DIFFUSERS: theirs, OURS: ours}


def make_calls(
    networks: dict[str, nn.Module], size: Size, plan: Plan, device: torch.device
) -> dict[str, dict[str, Call]]:
    """Mode -> implementation -> one forward pass."""
    g = torch.Generator().manual_seed(plan.seed)
    latents = torch.randn(size.batch, 4, size.frames, size.height, size.width, generator=g).to(device)
    text = torch.randn(size.batch, size.tokens, size.context, generator=g).to(device)
    calls: dict[str, dict[str, Call]] = {}
    for mode in plan.modes:
        dtype, _ = MODES[mode]
        shown = networks if dtype == torch.float32 else _shared_copy(networks, dtype)
        calls[mode] = {
            name: _call(torch.compile(network) if plan.compiled else network, latents.to(dtype), text.to(dtype), mode)
            for name, network in shown.items()
        }
    return calls


def _shared_copy(networks: dict[str, nn.Module], dtype: torch.dtype) -> dict[str, nn.Module]:
    """Both in another dtype, again with one set of weights."""
    theirs = nn.Module.to(copy.deepcopy(networks[DIFFUSERS]), dtype)
    with torch.device("meta"):
        ours = VideoUNet.from_config(networks[OURS].config).eval().requires_grad_(False)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    return {DIFFUSERS: theirs, OURS: ours}


def _call(network: Any, latents: Tensor, text: Tensor, mode: str) -> Call:
    steps = torch.full((len(latents),), 500, device=latents.device)
    cast = MODES[mode][1]

    @torch.no_grad()
    def forward() -> Tensor:
        with torch.autocast(latents.device.type, cast) if cast is not None else nullcontext():
            out: Tensor = network(latents, steps, text).sample
        return out

    return forward


def compare_outputs(calls: dict[str, dict[str, Call]]) -> dict[str, dict[str, float]]:
    """Largest difference of our output to diffusers' in the same mode, and the largest value of the latter.

    Raises:
        UserError: an output is not finite.
    """
    found = {}
    for mode, pair in calls.items():
        theirs, ours = pair[DIFFUSERS]().float(), pair[OURS]().float()
        if not (theirs.isfinite().all() and ours.isfinite().all()):
            raise UserError(f"an output in mode {mode} is not finite", "leave this mode out: --modes")
        found[mode] = {"max_abs_difference": (ours - theirs).abs().max().item(), "max_abs": theirs.abs().max().item()}
    return found


def time_in_turns(calls: dict[str, dict[str, Call]], plan: Plan, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every pass under ``mode/implementation``; each round runs all once, so that a slow spell hits all."""
    every = {f"{mode}/{name}": call for mode, pair in calls.items() for name, call in pair.items()}
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for turn in range(-plan.warmup, plan.repeats):
        for name, call in every.items():
            synchronise(device)
            start = perf_counter()
            call()
            synchronise(device)
            if turn >= 0:
                seconds[name].append(perf_counter() - start)
    return seconds


def measure(size: Size, plan: Plan, device: torch.device) -> dict[str, Any]:
    """Everything that is written: see the module's docstring."""
    networks = build_networks(size, plan.seed, device)
    calls = make_calls(networks, size, plan, device)
    agreement = compare_outputs(calls)
    seconds = time_in_turns(calls, plan, device)
    first = plan.modes[0]
    return {
        "conditions": where_and_what(device, Path(__file__).parent),
        "size": asdict(size),
        "plan": asdict(plan),
        "parameters": sum(weight.numel() for weight in networks[OURS].parameters()),
        "agreement": agreement,
        "runs": {name: describe(values, plan.warmup) for name, values in seconds.items()},
        "diffusers_over_ours": {mode: speedup(seconds, f"{mode}/{DIFFUSERS}", f"{mode}/{OURS}") for mode in plan.modes},
        "gain_over_first_mode": {
            mode: {
                "over_ours": speedup(seconds, f"{first}/{OURS}", f"{mode}/{OURS}"),
                "over_diffusers": speedup(seconds, f"{first}/{DIFFUSERS}", f"{mode}/{OURS}"),
            }
            for mode in plan.modes[1:]
        },
        "peak_bytes_above_weights": {
            f"{mode}/{name}": measured_peak_bytes(call, device)
            for mode, pair in calls.items()
            for name, call in pair.items()
        },
        "profile": {f"{first}/{name}": profile_operations(call, device) for name, call in calls[first].items()},
    }


def main(
    size: Annotated[str, typer.Option(help=f"Of the network and its input: {', '.join(SIZES)}.")] = "mid",
    modes: Annotated[
        str, typer.Option(help=f"Separated by commas, of {', '.join(MODES)}; gains are over the first.")
    ] = "float32",
    repeats: Annotated[int, typer.Option(min=1, help="Counted passes of each.")] = 6,
    warmup: Annotated[int, typer.Option(min=0, help="Passes of each before that.")] = 1,
    seed: Annotated[int, typer.Option(help="Of weights and inputs.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda (also ROCm), cuda:1, ...")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="On a CPU; none = torch's choice.")] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Give both to torch.compile.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file; none = in results/, named by size and device.")] = None,
) -> None:
    """Time our UNet's forward pass against diffusers', same weights, in turns."""
    chosen = tuple(modes.split(","))
    for name, known in ((size, list(SIZES)), *((mode, list(MODES)) for mode in chosen)):
        if name not in known:
            raise UserError(f"unknown option {name!r}", did_you_mean(name, known))
    if threads is not None:
        torch.set_num_threads(threads)
    plan = Plan(chosen, repeats, warmup, seed, compiled)
    figures = {"name": size, **measure(SIZES[size], plan, torch.device(device))}
    path = out or default_path(figures)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, figures)
    text = as_text(figures)
    path.with_suffix(".txt").write_text(text)
    typer.echo(f"{text}\nwritten: {path}")


def default_path(figures: dict[str, Any]) -> Path:
    """Where the figures of this size, device, number of threads and these modes are kept."""
    where = figures["conditions"]
    parts = ["unet-forward", figures["name"], where["device"], f"{where['threads']}t" if "threads" in where else ""]
    parts += [*figures["plan"]["modes"], "compiled" if figures["plan"]["compiled"] else ""]
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") + ".json")


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        raise SystemExit(f"error: {error.problem}\nnext:  {error.next_step}") from None
