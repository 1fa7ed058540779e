"""Golden data: small copies in the repository, and the whole set where it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def golden() -> Path:
    """The copies kept here."""
    return Path(__file__).parent / "golden"


@pytest.fixture
def shared_golden(project: Path) -> Path:
    """All of the golden data, which are too large for the repository."""
    folder = Path(os.environ.get("HUMMINGBIRD_PARITY", project.parent / "shared/parity"))
    if not folder.is_dir():
        pytest.skip(f"no golden data in {folder} (HUMMINGBIRD_PARITY selects another folder)")
    return folder
