"""The folder of the files."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def infra(project: Path) -> Path:
    return project / "infra"
