"""How a source is opened in these tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hummingbird.data.sources import Source, open_source
from hummingbird.params import Download

Opened = Callable[..., Source]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens ``source`` (default: the test's folder) after writing ``text`` to its ``clips.csv``."""

    def open_it(text: str | None = None, source: str | Path = tmp_path, **params: Any) -> Source:
        if text is not None:
            (tmp_path / "clips.csv").write_text(text)
        found: Any = open_source(Download(source=str(source), **params))
        return found  # never a generated one

    return open_it
