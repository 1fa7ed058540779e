"""A registry in a real MLflow database, whose versions are small files with evidence of our choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hummingbird.ops.registry import evidence
from hummingbird.ops.registry.evidence import Evidence, Figure, Files, Latency, Provenance, Quality
from hummingbird.ops.registry.server import PIPELINE, Registry
from hummingbird.params import Promotion

SOUND = Provenance(
    commit="c0ffee",
    lock_sha256="11",
    git=evidence.CLEAN,
    stages=evidence.UP_TO_DATE,
    data=evidence.PUSHED,
    gates=evidence.GREEN,
)
WEIGHTS = bytes(100)


@pytest.fixture
def rules() -> Promotion:
    return Promotion(figures=("held_out_reward",), max_latency_s=1.0, max_latency_ratio=1.5)


@pytest.fixture
def registry(root: Path) -> Registry:
    return Registry(root)


@pytest.fixture
def known() -> Callable[..., Evidence]:
    """Evidence of a version whose held-out reward is ``reward`` +- 0.01 and which takes ``seconds``."""

    def known(reward: float = 0.5, seconds: float = 0.1, **provenance: Any) -> Evidence:
        figure = Figure(value=reward, low=reward - 0.01, high=reward + 0.01)
        return Evidence(
            model="stage2",
            producer_run_id="r1",
            files=Files(md5="d3.dir", count=1, size=len(WEIGHTS)),
            provenance=SOUND.model_copy(update=provenance),
            quality=Quality(
                mode="miniature", suite="a1", judges="b2", seeds="1", n=8, figures={"held_out_reward": figure}
            ),
            latency=Latency(
                median_s=seconds, p95_s=seconds, n=5, device="cpu", dtype="float32", threads=2, resolution="32x32",
                frames=8,
            ),
        )  # fmt: skip

    return known


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
        tags = evidence.to_tags(known(*figures, **more))
        made = registry.client.create_model_version(registry.name, folder.as_uri(), tags=tags)
        return int(made.version)

    return add
