"""Which devices this machine has, and who works on them.

Two guards against two stages on one GPU. Prefect's global concurrency limits ``gpu:HOST`` and ``cpu:HOST`` hold for
all runs that share a Prefect server, and can be changed in its interface. A file lock on each device holds for all
runs on the machine, whatever server they have. Both end with the process that holds them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

LEASE = 60.0  # seconds after which Prefect gives the slots of a killed run to others
WAIT = 1.0  # seconds between looks at locked devices
_SIGNS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # one of them is there if the machine has a GPU for torch
_ASK_TORCH = """
import json, torch
name = "HIP_VISIBLE_DEVICES" if torch.version.hip else "CUDA_VISIBLE_DEVICES"
ids = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
print(json.dumps([name, ids]))
"""


@dataclass(frozen=True)
class Devices:
    """The GPUs that torch sees. ``ids``: their UUIDs, in torch's order; ``variable``: the one that hides others."""

    ids: tuple[str, ...] = ()
    variable: str = "CUDA_VISIBLE_DEVICES"

    def visible(self, chosen: Sequence[int]) -> dict[str, str]:
        """The environment in which torch sees only the ``chosen`` ones."""
        named = os.environ.get(self.variable, "").split(",") if os.environ.get(self.variable) else None
        return {self.variable: ",".join(named[i] if named else str(i) for i in chosen)}


@cache
def find_devices() -> Devices:
    """Ask torch, in another process, and only where the machine has a sign of a GPU: importing torch takes seconds."""
    if not any(Path(sign).exists() for sign in _SIGNS):
        return Devices()
    done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=300)
    if done.returncode:
        return Devices()  # a driver or a torch that does not work: the stages will say so themselves
    variable, ids = json.loads(done.stdout)
    return Devices(tuple(ids), variable)


def pool(resource: str) -> str:
    """Name of the concurrency limit for a resource of this machine."""
    return f"{resource}:{platform.node() or 'localhost'}"


@contextmanager
def locked(devices: Devices, count: int, folder: Path | None = None) -> Iterator[list[int]]:
    """Wait until ``count`` of ``devices`` are free, and keep them locked. Yields their places in ``devices.ids``.

    Args:
        count: at most all of them are taken.
        folder: where the lock files lie; None: a folder for temporary files that all users share.
    """
    folder = folder or _shared_folder()
    count = min(count, len(devices.ids))
    with ExitStack() as held:
        while len(chosen := _take(devices, count, folder, held)) < count:
            held.close()  # all or none, so that two runs never wait for each other
            time.sleep(WAIT)
        yield chosen


def _take(devices: Devices, count: int, folder: Path, held: ExitStack) -> list[int]:
    chosen: list[int] = []
    for place, name in enumerate(devices.ids):
        if len(chosen) == count:
            break
        try:
            held.enter_context(FileLock(folder / f"{name}.lock", timeout=0, mode=0o666, thread_local=False))
        except Timeout:
            continue
        chosen.append(place)
    return chosen


def _shared_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / "hummingbird-devices"
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)
    return folder


@dataclass
class Pools:
    """The concurrency limits of this machine in the Prefect server, made if they are not there.

    Args:
        gpus: slots of the GPU pool; without GPUs all stages take a slot of the CPU pool.
        cpus: slots of the CPU pool.
    """

    gpus: int
    cpus: int
    limits: dict[str, int] = field(default_factory=dict)  # name -> slots

    def make(self) -> None:
        """Make the limits that are missing; one that somebody has changed keeps what it was given."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            for resource, slots in (("gpu", self.gpus), ("cpu", self.cpus)):
                if slots:
                    self.limits[pool(resource)] = _limit(client, pool(resource), slots)

    @contextmanager
    def slots(self, resource: str, count: int = 1, *, alone: bool = False) -> Iterator[None]:
        """Hold ``count`` slots of a resource, or every slot of this machine."""
        from prefect.concurrency.sync import concurrency

        if not self.limits:
            yield
            return
        wanted = {pool(resource if pool(resource) in self.limits else "cpu"): count}
        with ExitStack() as held:
            for name, slots in (self.limits if alone else wanted).items():
                occupy = max(1, min(slots, self.limits[name]))
                held.enter_context(
                    concurrency(name, occupy, lease_duration=LEASE, strict=True, raise_on_lease_renewal_failure=False)
                )
            yield


def _limit(client: SyncPrefectClient, name: str, slots: int) -> int:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists

    try:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))
    except ObjectAlreadyExists:
        slots = client.read_global_concurrency_limit_by_name(name).limit
    return slots
