"""The machine that a figure comes from, and how much memory a call needs on it."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from evaluation.latency.harness import processor_name, synchronise

#: Words in /proc/cpuinfo of processors that multiply in bfloat16 (x86: AVX-512 and AMX; Arm).
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def where_and_what(device: torch.device, root: Path) -> dict[str, Any]:
    """Device, threads, versions and the commit of the code in the checkout at ``root``."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else processor_name(),
        "device_type": device.type,
        **({} if on_gpu else {"threads": torch.get_num_threads(), "cores": os.cpu_count()}),
        "bfloat16_in_hardware": has_bfloat16(device),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": version("diffusers"),
        "commit": _git(root, "rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
    }


def has_bfloat16(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the device multiplies in bfloat16 itself; None where that cannot be found out."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not cpuinfo.is_file():
        return None
    for line in cpuinfo.read_text().splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not BF16_FLAGS.isdisjoint(words.split())
    return None


def measured_peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """Memory that ``call`` needs at its peak beyond what is in use before it; None where that cannot be found out.

    On a CPU that is resident memory, after the C library has given back what it kept of earlier calls.
    """
    if device.type == "cuda":
        synchronise(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from now
        before = _resident_bytes("VmRSS")
        call()
        return _resident_bytes("VmHWM") - before
    except (AttributeError, OSError, TypeError):  # the last: CDLL(None) on Windows
        return None


def _resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _git(root: Path, *arguments: str) -> str:
    """Output of git, empty outside a checkout."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()
