"""A disk that can be filled up: a small one of its own, where this user may mount one, else a limit that looks like
it to the stage."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import Protocol

import psutil

SIZE = 64 << 20  # bytes
LIMIT = 128 << 10  # bytes of a file; smaller than a checkpoint of the drill's stages


class Disk(Protocol):
    """The disk that a project lies on."""

    kind: str

    def fill(self, stage: psutil.Process) -> None:
        """Leave no room for what ``stage`` writes next."""

    def free(self) -> None:
        """Make room again."""

    def close(self) -> None:
        """Undo what was set up."""


class Small:
    """A tmpfs of 64 MiB on ``folder``. A file takes all that is left of it."""

    kind = f"a tmpfs of {SIZE >> 20} MiB, filled to the last page"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        options = f"size={SIZE},mode=755"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True, text=True
        )

    def fill(self, stage: psutil.Process) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:  # full
                return

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)


class Limited:
    """Any disk. The stage may write no file beyond :data:`LIMIT`, so that its checkpoint fails (EFBIG, not ENOSPC)."""

    kind = f"a stand-in: files of the stage limited to {LIMIT >> 10} KiB (RLIMIT_FSIZE)"

    def fill(self, stage: psutil.Process) -> None:
        _, hard = stage.rlimit(psutil.RLIMIT_FSIZE)
        stage.rlimit(psutil.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY if hard < 0 else hard))

    def free(self) -> None: ...

    def close(self) -> None: ...


def make_disk(folder: Path) -> Disk:
    """A disk at ``folder``, an empty one: of its own if that can be mounted."""
    if os.geteuid() == 0:
        try:
            return Small(folder)
        except (OSError, subprocess.CalledProcessError):  # a container without the right to mount
            pass
    return Limited()
