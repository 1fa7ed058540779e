"""Strict renaming of tensors, and filling a network with them: every key is used, or the error lists those that are
not. Nothing here computes with values: what goes through both ways comes back bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from accelerate import init_empty_weights
from torch import Tensor, nn

from hummingbird.errors import UserError

Network = TypeVar("Network", bound=nn.Module)
Names = dict[str, str]
NEXT_STEP = "check that this is the file the network was published in, and that the configuration is its own"
_SHOWN = 12  # keys listed of each sort, before the rest is only counted


def rename(state: Mapping[str, Tensor], to: Mapping[str, str]) -> dict[str, Tensor]:
    """``state`` under the names that ``to`` gives them.

    Raises:
        UserError: a key of ``to`` is missing in ``state``, or one of ``state`` is left over; both are listed.
    """
    _refuse(("missing", to.keys() - state.keys()), ("left over", state.keys() - to.keys()))
    return {new: state[old] for old, new in to.items()}


def inverse(names: Mapping[str, str]) -> Names:
    """The way back of :func:`rename`.

    Raises:
        ValueError: two names become the same.
    """
    back = {new: old for old, new in names.items()}
    if len(back) != len(names):
        raise ValueError("two tensors would get the same name")
    return back


def reshaped(
    state: Mapping[str, Tensor], names: Iterable[str], change: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """``state`` with ``change`` applied to the tensors of these ``names``."""
    changed = set(names)
    return {name: change(tensor).contiguous() if name in changed else tensor for name, tensor in state.items()}


def transpose(tensor: Tensor) -> Tensor:
    """A matrix that is multiplied from the right, as a linear layer's weight; and back."""
    return tensor.transpose(0, -1)


def split_unused(
    state: Mapping[str, Tensor], is_unused: Callable[[str], bool]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors that a network uses, and those of the names for which ``is_unused`` holds."""
    unused = {name: tensor for name, tensor in state.items() if is_unused(name)}
    return {name: tensor for name, tensor in state.items() if name not in unused}, unused


def filled(build: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """The network that ``build`` makes, holding the very tensors of ``state``: no second copy, dtypes as they are.

    Raises:
        UserError: a tensor is missing or left over, or has another shape; they are listed.
    """
    with init_empty_weights(include_buffers=False):
        network = build()
    own = network.state_dict()
    wrong = {
        f"{name} {list(state[name].shape)}, the network's is {list(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    }
    _refuse(
        ("missing", own.keys() - state.keys()), ("left over", state.keys() - own.keys()), ("of another shape", wrong)
    )
    network.load_state_dict(state, assign=True)
    return network


def _refuse(*found: tuple[str, Iterable[str]]) -> None:
    """Raise the error that lists what was found, if anything was."""
    lines = []
    for what, names in found:
        listed = sorted(names)
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        if listed:
            lines.append(f"{len(listed)} {what}: {', '.join(listed[:_SHOWN])}{more}")
    if lines:
        raise UserError("the tensors are not those of this network; " + "; ".join(lines), NEXT_STEP)
