"""A converted network into its folder, with every number looked at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from torch import Tensor

from hummingbird.errors import UserError
from hummingbird.models.convert.keymap import counted


class Savable(Protocol):
    """A network of diffusers or transformers."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def save_pretrained(self, save_directory: Path) -> None: ...


def save_network(network: Savable, folder: Path) -> None:
    """Write ``network`` to ``folder`` in the precision that it has.

    Raises:
        UserError: it holds numbers that are not finite, such as those of an overflow to half precision.
        OSError: the disk is full.
    """
    wrong = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if wrong:
        raise UserError(
            counted("tensors hold infinite numbers or none at all", wrong),
            "use a file that was saved as bfloat16 or float32: half precision overflows beyond 65504",
        )
    with _plain_disk_errors():
        network.save_pretrained(folder)


@contextmanager
def _plain_disk_errors() -> Iterator[None]:
    """safetensors tells of a full disk in words only; here it becomes the error that it was."""
    try:
        yield
    except SafetensorError as error:
        for code in (errno.ENOSPC, errno.EDQUOT):
            if f"(os error {code})" in str(error):
                raise OSError(code, os.strerror(code)) from error
        raise
