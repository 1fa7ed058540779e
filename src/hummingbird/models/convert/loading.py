"""Public tensors into a network without weights: checked, converted and never held twice."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.models.convert.keymap import NEXT_STEP, KeyMap, counted

Network = TypeVar("Network", bound=nn.Module)


def load_public(
    network: Network, names: KeyMap, public: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> Network:
    """Give ``network``, which is on the meta device, the tensors of a public checkpoint.

    Tensors that need no conversion stay those of the file; each other one is converted by itself, and the file's pages
    that it was read from are given back. So ``public`` must hold what is in the file: what has been written to such a
    tensor since would be lost.

    Args:
        dtype: of the network's parameters; none = as they are in the file.

    Raises:
        UserError: keys are missing or left over, shapes differ, weights are whole numbers, or values are too large for
            ``dtype``.
    """
    state = names.to_ours(public)
    _check(names.what, network.state_dict(), state)
    overflown = []
    mappings = _file_mappings()
    for name, tensor in state.items():
        if tensor.is_floating_point() and dtype is not None and tensor.dtype != dtype:
            state[name] = tensor.to(dtype)
            if not state[name].isfinite().all() and tensor.isfinite().all():
                overflown.append(name)
            _give_back(tensor, mappings)
    if overflown:
        raise UserError(
            f"{names.what} has {counted(f'tensors with values too large for {dtype}', overflown)}",
            "load it as bfloat16 or float32",
        )
    network.load_state_dict({name: it.contiguous() for name, it in state.items()}, assign=True)
    return network


def _check(what: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    wrong = [
        f"{name} {list(found[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if found[name].shape != tensor.shape
    ]
    if wrong:
        raise UserError(f"the checkpoint is not {what}: {counted('of another shape', wrong)}", NEXT_STEP)
    integers = [name for name, it in expected.items() if it.is_floating_point() and not found[name].is_floating_point()]
    if integers:
        raise UserError(
            f"the checkpoint of {what} is quantised; {counted('of whole numbers', integers)}",
            "use the file as it was published, in float32 or half precision",
        )


def _give_back(tensor: Tensor, mappings: list[range]) -> None:
    """Let the system drop the pages of a tensor that is mapped from a file and has been converted.

    Read again, they come back from the file. Only whole pages inside the tensor; other memory is left alone.
    """
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page
    size = (tensor.data_ptr() + tensor.nbytes) // page * page - start
    if size > 0 and any(start in mapping and start + size <= mapping.stop for mapping in mappings):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


def _file_mappings() -> list[range]:
    """Addresses of this process that are mapped from files, privately; empty where the system does not tell."""
    table = Path("/proc/self/maps")
    if not table.exists():
        return []
    mappings = []
    for line in table.read_text().splitlines():
        addresses, rights, _, _, inode, *_ = line.split(maxsplit=5)
        if rights[3] == "p" and inode != "0":
            first, last = (int(address, 16) for address in addresses.split("-"))
            mappings.append(range(first, last))
    return mappings
