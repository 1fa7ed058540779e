"""What holds for all tests: no telemetry, no network, one thread a worker, and a Prefect database of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import dvc  # noqa: F401 - its log keeps the standard output it finds at its import: a test's is closed afterwards
import pytest
from hypothesis import settings

from hummingbird import telemetry
from hummingbird.runlog import SilentLog

# before any test module imports torch or a tool that reads them
telemetry.switch_off()
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("project", deadline=None, database=None, derandomize=True)  # the same on any machine
settings.load_profile("project")


class Stopped(Exception):  # noqa: N818  # no error of the code under test
    """What :class:`Watching` ends a training by."""


class Watching(SilentLog):
    """Sees the losses of every step, and may end the training when those of one arrive."""

    Stopped: ClassVar[type[Exception]] = Stopped

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.steps: list[int | None] = []

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        if "loss" in values:
            self.steps.append(step)
            if step == self.stop_at:
                raise Stopped


@pytest.fixture(scope="session")
def watching() -> type[Watching]:
    return Watching


@pytest.fixture(scope="session", autouse=True)
def _own_prefect_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A Prefect database that belongs to this worker."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))


@pytest.fixture
def project() -> Path:
    """The folder of this project's checkout, to read from."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Address of moto's server: S3's semantics in memory, for any access key."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
