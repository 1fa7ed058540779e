"""A registry in a real MLflow database, whose versions are small files with evidence of our choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hummingbird.ops.registry import evidence
from hummingbird.ops.registry.evidence import Evidence
from hummingbird.ops.registry.server import PIPELINE, Registry
from hummingbird.params import Promotion

WEIGHTS = bytes(100)


@pytest.fixture
def rules() -> Promotion:
    return Promotion(figures=("held_out_reward",), max_latency_s=1.0, max_latency_ratio=1.5)


@pytest.fixture
def registry(root: Path) -> Registry:
    return Registry(root)


@pytest.fixture
def add(registry: Registry, tmp_path: Path, known: Callable[..., Evidence]) -> Callable[..., int]:
    """Registers a version with such evidence, whose files are small ones in ``store``."""

    def add(*figures: float, **more: Any) -> int:
        if not registry.client.search_registered_models(f"name = '{registry.name}'"):
            registry.client.create_registered_model(registry.name)
        folder = tmp_path / "store" / str(len(registry.versions()) + 1)
        (folder / PIPELINE).mkdir(parents=True)
        (folder / PIPELINE / "weights.bin").write_bytes(WEIGHTS)
        (folder / "MLmodel").write_text("flavors: {}\n")
        tags = evidence.to_tags(known(*figures, size=len(WEIGHTS), **more))
        made = registry.client.create_model_version(registry.name, folder.as_uri(), tags=tags)
        return int(made.version)

    return add
