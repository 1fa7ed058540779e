"""Tensors of public checkpoint files, read without running anything that is in them.

Both formats are mapped into memory rather than read: a tensor costs memory when it is used, and only once.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hummingbird.errors import UserError

#: Where the parts of a whole VideoCrafter checkpoint lie.
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.model."

_NESTED = ("state_dict", "module", "model")  # a training run wraps its tensors in one of these
_DEEPSPEED, _PARALLEL = "_forward_module.", "module."  # before every name
_AGAIN = "fetch it again: it is damaged or incomplete"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by their names, without what training frameworks put around them.

    Reads safetensors, and PyTorch files that hold nothing but tensors and plain values.

    Raises:
        UserError: no such file, a damaged one, one that would have to run code to be read, or no tensors in it.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}", "check the path, or fetch it first")
    with path.open("rb") as file:
        start = file.read(9)
    tensors = _unwrap(_read_safetensors(path) if start[8:9] == b"{" else _read_pytorch(path, start))
    if not tensors:
        raise UserError(f"{path} holds no tensors by name", "use a file with a state dict")
    return tensors


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below ``prefix``, without it. A checkpoint of one network only, which has no prefixes, is all of it.

    Raises:
        UserError: it is a checkpoint with parts, but has not this one.
    """
    found = {name.removeprefix(prefix): it for name, it in tensors.items() if name.startswith(prefix)}
    if found:
        return found
    others = [other for other in (UNET, VAE, TEXT) if any(name.startswith(other) for name in tensors)]
    if others:
        raise UserError(f"the checkpoint has no {prefix}*, only {', '.join(others)}", "use a checkpoint with that part")
    return dict(tensors)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}", _AGAIN) from error


def _read_pytorch(path: Path, start: bytes) -> Any:
    mapped = start.startswith(b"PK")  # the older format is no archive, and cannot be mapped
    if not mapped and not start.startswith(b"\x80"):
        raise UserError(f"{path} is neither a safetensors nor a PyTorch file", _AGAIN)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: to read it, code named in the file would have to run ({_reason(error)})",
            "save its state dict as safetensors on a machine where you trust it, and use that",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}", _AGAIN) from error


def _reason(error: pickle.UnpicklingError) -> str:
    """The part of torch's long message that names what was refused."""
    found = re.search(r"GLOBAL \S+|Unsupported \w+ [^\n]*|[Uu]nsupported operand[^\n]*|operand \d+", str(error))
    return found.group() if found else "not a pickle of plain tensors"


def _unwrap(content: Any) -> dict[str, Tensor]:
    """The innermost state dict, without the prefix of data-parallel training; of a DeepSpeed file, without the frozen
    teacher inside."""
    while isinstance(content, dict) and (inner := [content[key] for key in _NESTED if key in content]):
        if not isinstance(inner[0], dict):
            break
        content = inner[0]
    if not isinstance(content, dict):
        return {}
    tensors = {name: it for name, it in content.items() if isinstance(name, str) and isinstance(it, Tensor)}
    if any(name.startswith(_DEEPSPEED) for name in tensors):
        tensors = {name.removeprefix(_DEEPSPEED): it for name, it in tensors.items()}
        tensors = {name: it for name, it in tensors.items() if not name.startswith("teacher")}
    if all(name.startswith(_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL): it for name, it in tensors.items()}
    return tensors
