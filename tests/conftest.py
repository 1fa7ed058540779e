"""What holds for all tests: no telemetry, no network, one thread a worker, and a Prefect database of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dvc  # noqa: F401 - its log keeps the standard output it finds at its import: a test's is closed afterwards
import pytest
from hypothesis import settings

from hummingbird import telemetry
from hummingbird.runlog import SilentLog

if TYPE_CHECKING:
    from hummingbird.ops.registry.evidence import Evidence

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


@pytest.fixture(scope="session")
def known() -> Callable[..., Evidence]:
    """Evidence of a registered version of one file, with which nothing is wrong but what a test says."""
    from hummingbird.ops.registry.evidence import (
        CLEAN,
        GREEN,
        PUSHED,
        UP_TO_DATE,
        Evidence,
        Figure,
        Files,
        Latency,
        Provenance,
        Quality,
    )

    sound = Provenance(commit="c0ffee", lock_sha256="11", git=CLEAN, stages=UP_TO_DATE, data=PUSHED, gates=GREEN)

    def known(
        reward: float = 0.5,
        seconds: float = 0.1,
        *,
        size: int = 100,
        figures: tuple[str, ...] = ("held_out_reward",),
        **provenance: Any,
    ) -> Evidence:
        """Its ``figures`` are ``reward`` +- 0.01, it takes ``seconds``, and its file has ``size`` bytes."""
        figure = Figure(value=reward, low=reward - 0.01, high=reward + 0.01)
        return Evidence(
            model="stage2",
            producer_run_id="r1",
            files=Files(md5="d3.dir", count=1, size=size),
            provenance=sound.model_copy(update=provenance),
            quality=Quality(
                mode="miniature", suite="a1", judges="b2", seeds="1", n=8, figures=dict.fromkeys(figures, figure)
            ),
            latency=Latency(
                median_s=seconds, p95_s=seconds, n=5, device="cpu", dtype="float32", threads=2, resolution="32x32",
                frames=8,
            ),
        )  # fmt: skip

    return known
