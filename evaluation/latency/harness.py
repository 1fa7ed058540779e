"""Times pipelines against each other: end to end and per component, in turns within one process.

End to end means prompt to pixels: text encoding, every denoising step, decoding. Those runs carry no probes; the
components are timed in separate runs, because waiting for the device after each of them would slow a GPU down.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evaluation.statistics import median_ratio
from hummingbird.models.vae import decode_video
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog

#: Component -> (attribute of the pipeline, method that is its work).
COMPONENTS = {"text_encoder": ("text_encoder", "forward"), "denoiser": ("unet", "forward"), "vae": ("vae", "decode")}


@dataclass(frozen=True)
class Contender:
    """A pipeline with its own steps and guidance, and how often it is run."""

    name: str
    pipeline: TextToVideoPipeline
    repeats: int


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given (nothing to wait for on a CPU)."""
    if device.type == "cuda":  # ROCm's name in torch, too
        torch.cuda.synchronize(device)


def turns(contenders: Sequence[Contender]) -> list[Contender]:
    """The order of the runs: each contender's spread evenly over the whole, so that a slow spell hits all alike."""
    schedule = [
        ((run + 0.5) / contender.repeats, place, contender)
        for place, contender in enumerate(contenders)
        for run in range(contender.repeats)
    ]
    return [contender for _, _, contender in sorted(schedule, key=lambda item: item[:2])]


def time_in_turns(
    contenders: Sequence[Contender], prompt: str, batch: int, warmup: int, log: RunLog
) -> dict[str, list[float]]:
    """Seconds of every run by contender, after ``warmup`` runs of each that are not counted."""
    for contender in contenders:
        for _ in range(warmup):
            _run(contender.pipeline, prompt, batch, seed=0)
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    order = turns(contenders)
    for number, contender in enumerate(log.progress(order, f"timing, batch {batch}", len(order))):
        seconds[contender.name].append(_run(contender.pipeline, prompt, batch, seed=number))
    return seconds


def _run(pipeline: TextToVideoPipeline, prompt: str, batch: int, seed: int) -> float:
    device = pipeline.device  # looked up outside the measured time
    synchronise(device)
    start = time.perf_counter()
    pipeline([prompt] * batch, [seed * batch + i for i in range(batch)])
    synchronise(device)
    return time.perf_counter() - start


@contextmanager
def _stopwatch(module: nn.Module, method: str, device: torch.device, seconds: list[float]) -> Iterator[None]:
    """Add the time of each call of ``module.method`` to ``seconds``."""
    original: Callable[..., Any] = getattr(module, method)

    def timed(*args: Any, **kwargs: Any) -> Any:
        synchronise(device)
        start = time.perf_counter()
        result = original(*args, **kwargs)
        synchronise(device)
        seconds.append(time.perf_counter() - start)
        return result

    setattr(module, method, timed)  # hides the class's method on this object only
    try:
        yield
    finally:
        delattr(module, method)


def time_components(
    pipeline: TextToVideoPipeline, prompt: str, batch: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Median seconds per clip batch in each component, its share of the whole, and the number of its calls.

    ``other`` is what is left: the sampler's arithmetic, tokenising and copies.
    """
    totals: dict[str, list[float]] = {name: [] for name in (*COMPONENTS, "other")}
    whole: list[float] = []
    calls: dict[str, int] = {}
    for repeat in range(repeats):
        laps: dict[str, list[float]] = {name: [] for name in COMPONENTS}
        with ExitStack() as stack:
            for name, (attribute, method) in COMPONENTS.items():
                module = getattr(pipeline, attribute)
                stack.enter_context(_stopwatch(module, method, pipeline.device, laps[name]))
            whole.append(_run(pipeline, prompt, batch, seed=repeat))
        for name, lap in laps.items():
            totals[name].append(sum(lap))
            calls[name] = len(lap)
        totals["other"].append(whole[-1] - sum(map(sum, laps.values())))
    median = {name: float(np.median(values)) for name, values in totals.items()}
    whole_s = float(np.median(whole))
    return {
        name: {"median_s": value, "share": value / whole_s, "calls": float(calls.get(name, 0)), "n": float(repeats)}
        for name, value in median.items()
    }


def time_decoding(pipelines: Mapping[str, TextToVideoPipeline], prompt: str, repeats: int) -> dict[str, list[float]]:
    """Seconds that each pipeline's decoder takes for the latents of one and the same clip, in turns, after one run of
    each that is not counted."""
    first = next(iter(pipelines.values()))
    latents = torch.as_tensor(first([prompt], [0], output_type="latent"))
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for repeat in range(repeats + 1):
        for name, pipeline in pipelines.items():
            took = _decode(pipeline, latents)
            if repeat:
                seconds[name].append(took)
    return seconds


@torch.no_grad()
def _decode(pipeline: TextToVideoPipeline, latents: torch.Tensor) -> float:
    device = latents.device
    synchronise(device)
    start = time.perf_counter()
    decode_video(pipeline.vae, latents)
    synchronise(device)
    return time.perf_counter() - start


def describe(seconds: Sequence[float], warmup: int) -> dict[str, Any]:
    """Median, 95th percentile and the runs themselves."""
    return {
        "median_s": float(np.median(seconds)),
        "p95_s": float(np.quantile(seconds, 0.95)),
        "n": len(seconds),
        "warmup": warmup,
        "values_s": list(seconds),
    }


def speedup(seconds: dict[str, list[float]], slow: str, fast: str) -> dict[str, Any]:
    """Ratio of the medians with its bootstrap interval."""
    return median_ratio(seconds[slow], seconds[fast]).to_json()


def conditions(pipeline: TextToVideoPipeline) -> dict[str, Any]:
    """What a number about hardware must always be given with."""
    device = pipeline.device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "device_type": device.type,
        "dtype": str(pipeline.unet.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "resolution": list(pipeline.config.sample_size),
        "frames": pipeline.config.num_frames,
    }


def model_facts(pipeline: TextToVideoPipeline) -> dict[str, Any]:
    """Steps, guidance and number of parameters per component."""
    sizes = {
        name: sum(weight.numel() for weight in getattr(pipeline, attribute).parameters())
        for name, (attribute, _) in COMPONENTS.items()
    }
    return {
        "steps": pipeline.config.num_inference_steps,
        "guidance_scale": pipeline.config.guidance_scale,
        "scheduler": type(pipeline.scheduler).__name__,
        "params": sizes,
    }


def processor_name() -> str:
    """The processor's name; Linux keeps it in a file, elsewhere the platform's own word has to do."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
