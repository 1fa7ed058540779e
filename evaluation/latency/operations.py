"""Where a network's time goes: the share of each kind of operation, from torch's profiler."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from evaluation.latency.harness import synchronise

#: Kind -> what its operations' names contain. An operation is of the first kind that its own name fits, or else that of
#: the nearest operation it was called by: a product within attention is attention's.
KINDS: dict[str, tuple[str, ...]] = {
    "copies": ("copy_", "aten::cat", "aten::clone", "aten::contiguous", "aten::_to_copy", "aten::fill_"),
    "attention": ("attention", "softmax", "baddbmm"),
    "convolutions": ("conv",),
    "linear": ("aten::linear", "addmm", "aten::mm", "aten::matmul", "aten::bmm"),
    "normalisation": ("_norm",),
    "activations": ("gelu", "silu", "sigmoid"),
    "elementwise": ("aten::add", "aten::mul", "aten::div", "aten::sub", "aten::sin", "aten::cos", "aten::exp"),
    "resampling": ("upsample", "interpolate"),
}
OTHER = "other"


def kind_of(names: list[str]) -> str:
    """The kind of an operation, given its name and those of its callers, nearest first."""
    for name in names:
        for kind, parts in KINDS.items():
            if any(part in name for part in parts):
                return kind
    return OTHER


def profile_operations(call: Callable[[], object], device: torch.device) -> dict[str, dict[str, float]]:
    """Seconds, share and number of operations of each kind within one call, largest first.

    Seconds are those of the device that computes: of a GPU its kernels', of a CPU the operations' own.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as recorded:
        call()
        synchronise(device)
    seconds: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for event in recorded.events():
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if spent > 0 and event.name.startswith("aten::"):
            kind = kind_of(_with_callers(event))
            seconds[kind] += spent / 1e6
            counts[kind] += 1
    whole = sum(seconds.values())
    return {
        kind: {"seconds": value, "share": value / whole, "operations": float(counts[kind])}
        for kind, value in sorted(seconds.items(), key=lambda item: -item[1])
    }


def _with_callers(event: Any) -> list[str]:
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return names
