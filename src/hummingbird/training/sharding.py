"""Networks that are spread over processes, and their weights as whole tensors again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(network: nn.Module) -> bool:
    """Whether :func:`shard` has shared the weights out."""
    return isinstance(network, FSDPModule)


def can_shard(network: nn.Module) -> bool:
    """Whether :func:`shard` would share the weights out: not those of what is never called as a whole."""
    return isinstance(network, ModelMixin)


def shard(network: nn.Module) -> bool:
    """Give each process a share of the weights of every block of ``network`` (FSDP 2), where they are not shared yet.

    Weights come together block by block while the network is called. False for what is not called as a whole, such as
    a learned embedding: each process keeps all of it.
    """
    if is_sharded(network):
        return True
    if not can_shard(network):
        return False
    blocks = [block for child in network.children() if isinstance(child, nn.ModuleList) for block in child]
    for block in blocks:
        fully_shard(block)
    fully_shard(network)
    return True


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor as a plain one; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_as(value: Tensor, like: Tensor) -> Tensor:
    """A plain tensor, spread over the processes as ``like`` is."""
    if isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)


@torch.no_grad()
def assign(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy whole tensors into parameters, sharded or not."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(placed_as(value, parameter))


def forget_gathered(network: nn.Module) -> None:
    """Let the next call gather the weights anew: some stay together after a call, as they were then."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def gather(network: nn.Module) -> None:
    """Make the parameters of a network that was sharded plain tensors again, to be saved. It cannot be called then.

    Every process must ask for it.
    """
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                setattr(module, name, nn.Parameter(parameter.full_tensor().detach(), parameter.requires_grad))
        if isinstance(module, FSDPModule):  # its class would be written to the network's configuration
            module.__class__ = next(cls for cls in type(module).__mro__[1:] if cls is not FSDPModule)
