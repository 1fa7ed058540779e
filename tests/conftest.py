"""What holds for all tests: no telemetry, no network, one thread a worker, and a Prefect database of their own."""

from __future__ import annotations

import os
from pathlib import Path

import dvc  # noqa: F401 - its log keeps the standard output it finds at its import: a test's is closed afterwards
import pytest

from hummingbird import telemetry

# before any test module imports torch or a tool that reads them
telemetry.switch_off()
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_prefect_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A Prefect database that belongs to this worker."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))


@pytest.fixture
def project() -> Path:
    """The folder of this project's checkout, to read from."""
    return Path(__file__).parents[1]
