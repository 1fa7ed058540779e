"""RAFT, dense optical flow by a network (arXiv:2003.12039): torchvision's, where torchvision is installed.

It is no dependency of the default run, which measures motion without a network.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hummingbird.errors import UserError
from hummingbird.models.convert.keymap import KeyMap, Rename
from hummingbird.models.convert.loading import load_public
from hummingbird.models.convert.reading import read_tensors

_MULTIPLE, _LEAST = 8, 128  # the network halves each side three times, and correlates at four scales below that


def load_raft(path: Path) -> nn.Module:
    """RAFT-large, frozen, from a file of torchvision's weights (``raft_large_C_T_SKHT_V2``, 5,257,536 parameters).

    Raises:
        UserError: torchvision is not installed or does not fit the installed torch; or the file is damaged, refused or
            of another network.
    """
    try:
        from torchvision.models.optical_flow import raft_large
    except (ImportError, RuntimeError) as error:  # the latter where it was built for another torch
        raise UserError(
            f"RAFT needs torchvision, which cannot be used here: {error}",
            "install the torchvision of your torch, from the same index",
        ) from error
    network: nn.Module = raft_large(weights=None)
    names = KeyMap("torchvision's RAFT-large", [Rename(name, (name,)) for name in network.state_dict()])
    return load_public(network, names, read_tensors(path), torch.float32).requires_grad_(False).eval()


@torch.no_grad()
def estimate_flow(network: nn.Module, first: Tensor, second: Tensor, updates: int = 12) -> Tensor:
    """Where each pixel of ``first`` is found in ``second``.

    Args:
        first, second: frames [N, 3, H, W] in [0, 1], of any size.
        updates: refinements of the flow; more are slower and finer.

    Returns:
        [N, 2, H, W]: pixels to the right and down.
    """
    height, width = first.shape[-2:]
    padding = [0, _padding(width), 0, _padding(height)]
    pair = [F.pad(frames * 2 - 1, padding, mode="replicate") for frames in (first, second)]
    flow: Tensor = network(*pair, num_flow_updates=updates)[-1]
    return flow[..., :height, :width]


def _padding(side: int) -> int:
    return max(-side % _MULTIPLE, _LEAST - side)
