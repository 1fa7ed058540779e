"""Ways to compute attention that a parity run can ask for, and exact float32 on devices that round it by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from hummingbird.errors import UserError, did_you_mean
from hummingbird.models.attention import SharedTextAttention
from hummingbird.models.device import check_device
from hummingbird.parity.golden import Setup

Network = TypeVar("Network", bound=nn.Module)

#: ``default`` = as the network chooses; ``plain`` = products and a softmax; ``fused`` = torch chooses a fused kernel;
#: the others force one kernel of torch's, and fail where it does not run.
_KERNELS = {
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
ATTENTION = ("default", "plain", "fused", *_KERNELS)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def make_setup(device: str, dtype: str, attention: str) -> Setup:
    """A checked :class:`Setup`.

    Raises:
        UserError: an unknown name, or a device that this machine or this build of torch does not have.
    """
    for name, known in ((dtype, DTYPES), (attention, ATTENTION)):
        if name not in known:
            raise UserError(f"unknown option {name!r}", did_you_mean(name, known))
    check_device(device)
    return Setup(device, DTYPES[dtype], attention)


@contextmanager
def exact(setup: Setup) -> Iterator[None]:
    """Within it, float32 is float32 (TF32 is off) and fused attention uses the kernel that was asked for."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with ExitStack() as stack:
            if setup.attention in _KERNELS:
                stack.enter_context(sdpa_kernel(_KERNELS[setup.attention]))
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def prepare(network: Network, setup: Setup) -> Network:
    """Move a network to the setup's device and dtype, choose its attention, and make it ready for inference."""
    nn.Module.to(network, setup.device, setup.dtype)  # diffusers' own warns of modules to keep in float32; of none
    network.requires_grad_(False).eval()
    if setup.attention == "default":
        return network
    plain = setup.attention == "plain"
    processor = AttnProcessor() if plain else AttnProcessor2_0()
    for module in network.modules():
        if isinstance(module, Attention):
            shared = isinstance(module.processor, SharedTextAttention)
            module.set_processor(SharedTextAttention(processor) if shared else processor)
    if isinstance(network, PreTrainedModel):
        network.set_attn_implementation("eager" if plain else "sdpa")
    return network
