"""Dense optical flow between two frames: DIS, which needs no weights, or RAFT, where torchvision is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hummingbird.errors import UserError

Frame = NDArray[np.uint8]  # [H, W, 3], RGB
Field = NDArray[np.float32]  # [H, W, 2], displacement in pixels: to the right and down
#: Where each pixel of the first frame is found in the second.
Flow = Callable[[Frame, Frame], Field]


def dis_flow() -> Flow:
    """Dense inverse search (arXiv:1603.03590) of OpenCV."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def flow(first: Frame, second: Frame) -> Field:
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        return np.asarray(estimator.calc(*grey, None), np.float32)  # type: ignore[call-overload]  # None: allocate it

    return flow


def raft_flow(weights: Path) -> Flow:
    """RAFT-large (arXiv:2003.12039), on the GPU where there is one.

    Raises:
        UserError: torchvision is not installed, or the weights cannot be used.
    """
    import torch

    from hummingbird.models.raft import estimate_flow, load_raft

    network = load_raft(weights).to("cuda" if torch.cuda.is_available() else "cpu")
    device = next(network.parameters()).device

    def flow(first: Frame, second: Frame) -> Field:
        one, other = (torch.as_tensor(it).permute(2, 0, 1)[None].to(device).float() / 255 for it in (first, second))
        found = estimate_flow(network, one, other)[0].permute(1, 2, 0)
        return np.asarray(found.cpu().numpy(), np.float32)

    return flow


def open_flow(method: str, weights: str | None) -> Flow:
    """The method of the parameters: ``dis``, or ``raft`` with the file of its weights.

    Raises:
        UserError: RAFT has no weights, or cannot be used.
    """
    if method == "dis":
        return dis_flow()
    if not weights:
        raise UserError("measure.flow is raft, but measure.flow_weights names no file", "give both, or set flow: dis")
    return raft_flow(Path(weights))
