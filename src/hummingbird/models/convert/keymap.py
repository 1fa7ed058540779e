"""Names of a public checkpoint's tensors and of ours, exact in both directions.

A map is made for one network, from the names of that network's own parameters, so it knows every key that a checkpoint
of it must have. Tensors are renamed and reshaped, never copied: converting needs no memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hummingbird.errors import UserError

#: How a public tensor holds ours: as it is; with one or two trailing sides of length 1 (a pointwise convolution that is
#: a linear layer here); transposed; or several of ours one below the other.
Form = Literal["same", "pointwise1", "pointwise2", "transposed", "stacked"]

_LISTED = 40  # keys of a list in an error message


@dataclass(frozen=True)
class Rename:
    """One public tensor and the one or, if ``stacked``, the several of ours that it holds."""

    public: str
    ours: tuple[str, ...]
    form: Form = "same"

    def to_ours(self, tensor: Tensor) -> Iterable[Tensor]:
        if self.form == "stacked":
            return tensor.chunk(len(self.ours))
        if self.form == "transposed":
            return (tensor.t(),)
        return (tensor.flatten(-2 if self.form == "pointwise1" else -3) if self.form != "same" else tensor,)

    def to_public(self, tensors: list[Tensor]) -> Tensor:
        if self.form == "stacked":
            return torch.cat(tensors)
        if self.form == "transposed":
            return tensors[0].t()
        sides = {"same": 0, "pointwise1": 1, "pointwise2": 2}[self.form]
        return tensors[0][(..., *[None] * sides)]


class KeyMap:
    """The exact correspondence of one network's tensors with those of its public checkpoint.

    Args:
        what: name of the network, for error messages.
        renames: one for each public tensor.
        derived: public tensors that follow from the network's sizes (index tables, masks) and how to make them; they
            may be there or not, and are not read.
    """

    def __init__(
        self, what: str, renames: Iterable[Rename], derived: Mapping[str, Callable[[], Tensor]] | None = None
    ) -> None:
        self.what = what
        self.renames = {rename.public: rename for rename in renames}
        self.derived = dict(derived or {})

    def to_ours(self, public: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict; views of the public tensors.

        Raises:
            UserError: keys are missing or left over, all of them in one message.
        """
        _require_equal(f"the checkpoint is not {self.what}", set(self.renames), set(public) - set(self.derived))
        state: dict[str, Tensor] = {}
        for name, rename in self.renames.items():
            state.update(zip(rename.ours, rename.to_ours(public[name]), strict=True))
        return state

    def to_public(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The public state dict, with the derived tensors.

        Raises:
            UserError: keys are missing or left over, all of them in one message.
        """
        expected = {name for rename in self.renames.values() for name in rename.ours}
        _require_equal(f"the state dict is not that of {self.what}", expected, set(ours))
        public = {name: it.to_public([ours[key] for key in it.ours]) for name, it in self.renames.items()}
        return public | {name: make() for name, make in self.derived.items()}


def _require_equal(problem: str, expected: set[str], found: set[str]) -> None:
    missing, left_over = sorted(expected - found), sorted(found - expected)
    if missing or left_over:
        parts = [_listing("missing", missing), _listing("left over", left_over)]
        raise UserError(
            f"{problem}: {'; '.join(part for part in parts if part)}",
            "check that the file and the chosen architecture belong together (guidance embedding, middle block, size)",
        )


def _listing(title: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return f"{len(keys)} keys {title}: {', '.join(keys[:_LISTED])}{more}"
