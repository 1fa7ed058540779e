"""The device that a command is told to compute on."""

from __future__ import annotations

import torch

from hummingbird.errors import UserError


def check_device(device: str) -> None:
    """Refuse a device that this machine or this build of torch does not have.

    Raises:
        UserError: with torch's reason.
    """
    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA and ROCm
        raise UserError(
            f"cannot compute on {device!r}: {str(error).splitlines()[0]}", "see what there is: hummingbird doctor"
        ) from error
