"""Names of a public checkpoint's tensors and of ours, exact in both directions.

A map is made for one network, from its configuration or from the names of its own parameters, so it knows every key
that a checkpoint of it must have. Tensors are renamed and reshaped; what goes through both ways comes back bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from hummingbird.errors import UserError

_LISTED = 40  # names of a list in an error message
NEXT_STEP = "check that the file and the chosen architecture belong together (guidance embedding, middle block, size)"


@dataclass(frozen=True)
class Rename:
    """One public tensor and the one of ours that it holds, or the several of ours, one below the other.

    Args:
        axes: axes of length 1 of the public tensor that ours has not: those of a pointwise convolution that is a linear
            layer here, of a batch of one.
        transposed: the public matrix is multiplied from the right, ours is a linear layer's weight.
    """

    public: str
    ours: tuple[str, ...]
    axes: tuple[int, ...] = ()
    transposed: bool = False

    def to_ours(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Views of ``tensor``; but copies of stacked parts, as tensors that share a storage cannot be saved.

        Raises:
            UserError: the tensor has not the axes that it should have.
        """
        axes = [*self.axes, 1] if self.transposed else self.axes
        if any(axis >= tensor.ndim for axis in axes):
            raise UserError(f"{self.public} has the shape {list(tensor.shape)} and lacks an axis", NEXT_STEP)
        if len(self.ours) > 1:
            return tuple(part.clone() for part in tensor.tensor_split(len(self.ours)))
        tensor = tensor.squeeze(self.axes) if self.axes else tensor
        return (tensor.transpose(0, 1) if self.transposed else tensor,)

    def to_public(self, tensors: list[Tensor]) -> Tensor:
        """The way back of :meth:`to_ours`."""
        tensor = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        if self.transposed:
            tensor = tensor.transpose(0, 1).contiguous()
        for axis in self.axes:
            tensor = tensor.unsqueeze(axis)
        return tensor


def renamed(names: Mapping[str, str], kinds: Iterable[str] = ("weight", "bias")) -> list[Rename]:
    """Public modules -> ours, each with its parameters of these ``kinds``, as they are."""
    return [Rename(f"{public}.{kind}", (f"{ours}.{kind}",)) for public, ours in names.items() for kind in kinds]


class KeyMap:
    """The exact correspondence of one network's tensors with those of its public checkpoint.

    Args:
        what: name of the network, for error messages.
        renames: one for each public tensor.
        derived: public tensors that follow from the network's sizes (index tables, masks) and how to make them; they
            may be there or not, and are not read.
        unused: public tensors, by name, that the published network has and ours does not need (heads of pre-training).
            Named, so that a key that nobody knows is still an error.
    """

    def __init__(
        self,
        what: str,
        renames: Iterable[Rename],
        derived: Mapping[str, Callable[[], Tensor]] | None = None,
        unused: re.Pattern[str] | None = None,
    ) -> None:
        self.what = what
        self.renames = {rename.public: rename for rename in renames}
        self.derived = dict(derived or {})
        self._unused = unused

    def to_ours(self, public: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict; see :meth:`Rename.to_ours`.

        Raises:
            UserError: keys are missing or left over, all of them in one message.
        """
        found = public.keys() - self.derived.keys() - self.unused(public).keys()
        _require_equal(f"the checkpoint is not {self.what}", self.renames.keys(), found)
        state: dict[str, Tensor] = {}
        for name, rename in self.renames.items():
            state.update(zip(rename.ours, rename.to_ours(public[name]), strict=True))
        return state

    def to_public(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The public state dict, with the derived tensors. Those of :meth:`unused` are not in it.

        Raises:
            UserError: keys are missing or left over, all of them in one message.
        """
        expected = {name for rename in self.renames.values() for name in rename.ours}
        _require_equal(f"the state dict is not that of {self.what}", expected, ours.keys())
        public = {name: it.to_public([ours[key] for key in it.ours]) for name, it in self.renames.items()}
        return public | {name: make() for name, make in self.derived.items()}

    def unused(self, public: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a public state dict that our network does not need, under their own names."""
        if self._unused is None:
            return {}
        return {name: tensor for name, tensor in public.items() if self._unused.fullmatch(name)}


def _require_equal(problem: str, expected: Set[str], found: Set[str]) -> None:
    missing, left_over = sorted(expected - found), sorted(found - expected)
    if missing or left_over:
        parts = [counted(title, names) for title, names in (("missing", missing), ("left over", left_over)) if names]
        raise UserError(f"{problem}: {'; '.join(parts)}", NEXT_STEP)


def counted(title: str, names: Sequence[str]) -> str:
    """``3 missing: a, b, c``; of a long list, the first ones and how many more."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {title}: {', '.join(names[:_LISTED])}{more}"
