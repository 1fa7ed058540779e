"""A cluster of two nodes on this machine, one of which is killed in the middle of the work."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hummingbird import engine, telemetry
from hummingbird.errors import UserError
from hummingbird.params import Curation, Needs

telemetry.switch_off()
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'hummingbird[ray]'")
sys.path.insert(0, str(Path(__file__).parent))  # where the nodes' processes find the work
import shard_work  # noqa: E402

HALF = Needs(cpus=0.5, memory_gb=0.05)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{':'.join(sys.path[1:])}")
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def settings(cluster: Any) -> Curation:
    return Curation(engine="ray", address=cluster.address)


@pytest.mark.slow
def test_a_node_killed_in_the_middle_changes_nothing(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    here, there = tmp_path / "local", tmp_path / "ray"
    here.mkdir(), there.mkdir()
    results = engine.run(shard_work.write_shard, [(str(there), n) for n in range(40)], settings(cluster), HALF)
    found = [next(results)]
    while found[-1][2] != second.node_id:  # until the second node has done some of the work
        found.append(next(results))
    cluster.remove_node(second, allow_graceful=False)
    found += list(results)
    assert {node for _, _, node in found[-5:]} == {cluster.head_node.node_id}
    expected = engine.run(shard_work.write_shard, [(str(here), n) for n in range(40)], Curation(workers=1), HALF)
    assert [result[:2] for result in found] == [result[:2] for result in expected]
    assert sorted(file.name for file in there.iterdir()) == sorted(file.name for file in here.iterdir())
    assert not ray.is_initialized()


@pytest.mark.slow
def test_tasks_without_end_with_results_that_the_store_cannot_hold_together(cluster: Any) -> None:
    """Forty of 8 MiB, in a store of 100."""
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = engine.run(shard_work.heavy, endless(), settings(cluster), HALF)
    for number, result in enumerate(itertools.islice(results, 40), start=1):
        assert result == bytes([number]) * 2**23
        assert taken < number + 8  # four for each of two that run at a time
    results.close()
    assert not ray.is_initialized()


def test_mistakes_are_explained(cluster: Any, tmp_path: Path) -> None:
    tasks = [(str(tmp_path), n) for n in range(3)]
    with pytest.raises(UserError, match=r"no node of the Ray cluster has 64 CPUs"):
        list(engine.run(shard_work.write_shard, tasks, settings(cluster), Needs(cpus=64.0)))
    with pytest.raises(UserError, match="cannot do 0") as caught:
        list(engine.run(shard_work.refuse, tasks, settings(cluster), HALF))
    assert caught.value.next_step == "do another"


def test_without_a_cluster_the_next_step_is_told() -> None:
    with pytest.raises(UserError, match=r"curation.address is empty\n  next: .*ray start --head"):
        list(engine.run(shard_work.write_shard, [("nowhere", 1)], Curation(engine="ray"), HALF))


def test_without_tasks_no_cluster_is_needed() -> None:
    assert list(engine.run(shard_work.write_shard, [], Curation(engine="ray"), HALF)) == []


def test_without_ray_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'hummingbird\[ray\]'"):
        list(engine.run(shard_work.write_shard, [("nowhere", 1)], Curation(engine="ray"), HALF))
