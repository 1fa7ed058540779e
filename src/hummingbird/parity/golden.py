"""Golden files: inputs, weights and outputs recorded from an original network, and what comparing with them gives.

A golden file is ``NAME.json`` (configuration, notes) with, mostly, ``NAME.safetensors`` beside it (``weights/KEY``,
``in/NAME``, ``out/NAME``, ``case/CASE/y``). Sizes come from the JSON, so that files of other sizes work too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hummingbird.errors import UserError

NETWORK = 2e-5  # largest absolute difference of a network's fp32 output: fused and plain attention differ by 3e-6


@dataclass(frozen=True)
class Golden:
    """One golden file. ``config`` is the JSON, ``tensors`` the safetensors file beside it (empty if there is none)."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read ``path`` (the JSON) and the tensors beside it.

        Raises:
            UserError: a file that is not JSON, or damaged tensors.
        """
        try:
            config = json.loads(path.read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UserError(f"{path} is not readable as JSON: {error}", "fetch the golden data again") from error
        beside = path.with_suffix(".safetensors")
        try:
            tensors = load_file(beside) if beside.is_file() else {}
        except (OSError, SafetensorError) as error:
            raise UserError(f"{beside} is damaged: {error}", "fetch the golden data again") from error
        return cls(path.stem, config if isinstance(config, dict) else {"rows": config}, tensors)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with ``prefix``, without it: ``under("weights/")`` is a state dict."""
        return {name.removeprefix(prefix): it for name, it in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Setup:
    """Where and how to compute. ``attention`` names a backend of the networks that offer a choice."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    attention: str = "default"


@dataclass(frozen=True)
class Case:
    """One comparison: the largest difference found and the largest allowed (absolute, or relative to the largest
    golden value)."""

    name: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance  # False for NaN

    @classmethod
    def compare(
        cls, name: str, ours: Tensor, golden: Tensor, tolerance: float = NETWORK, *, relative: bool = False
    ) -> Case:
        """Compare in float64 on the CPU; a wrong shape is an infinite difference."""
        if ours.shape != golden.shape:
            return cls(f"{name} (shape {list(ours.shape)}, golden {list(golden.shape)})", float("inf"), tolerance)
        exact = golden.detach().cpu().double()
        difference = float((ours.detach().cpu().double() - exact).abs().max()) if exact.numel() else 0.0
        return cls(name, difference / max(float(exact.abs().max()), 1e-30) if relative else difference, tolerance)


@dataclass(frozen=True)
class Kind:
    """A kind of golden file: how to recognise one by its JSON, and how to run it through our classes.

    Args:
        has_tensors: whether there is a safetensors file beside the JSON.
    """

    name: str
    matches: Callable[[Golden], bool]
    cases: Callable[[Golden, Setup], Iterator[Case]]
    has_tensors: bool = True


def has_keys(mapping: Mapping[str, Any], *keys: str) -> bool:
    """Whether all ``keys`` are there; for :attr:`Kind.matches`."""
    return all(key in mapping for key in keys)
