"""The work of the stage ``measure``, with a note of the cluster's node that did it."""

from __future__ import annotations

from pathlib import Path

import ray

from hummingbird.data.measuring.shard import ShardJob, load_dover, measure_shard


def warm_up(dover: Path) -> None:
    load_dover(dover)


def measure_and_sign(job: ShardJob) -> list[str]:
    problems = measure_shard(job)
    signatures = job.parts.parents[2] / "signatures"
    signatures.mkdir(exist_ok=True)
    (signatures / f"{ray.get_runtime_context().get_node_id()}-{job.name}").touch()
    return problems
