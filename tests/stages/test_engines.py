"""The stages ``download`` and ``measure`` on every engine: the same bytes, though a node is killed in the middle."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest
import torch

from hummingbird import telemetry
from hummingbird.data.video_io import encode_mp4
from hummingbird.layout import Layout
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover
from hummingbird.params import Curation, Download, Needs, Params
from hummingbird.runlog import SilentLog
from hummingbird.stages import download, measure

pytestmark = pytest.mark.slow
T = TypeVar("T")
SMALL = Needs(memory_gb=0.25)
WORLD = Download(clips=96, clips_per_shard=8)
ALONE = Curation(workers=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def measured(root: Path, curation: Curation, log: SilentLog) -> dict[str, bytes]:
    """The output of the stage ``measure``, made anew."""
    shutil.rmtree(root / ".work/measure", ignore_errors=True)
    figures = measure.run(Params(curation=curation), Layout(root), log)
    assert figures["clips"] == 96
    return contents(root / "data/measure")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A project with twelve shards of the world and a DOVER of random weights, and its scores by this process alone."""
    root = tmp_path_factory.mktemp("ready")
    download.run(Params(download=WORLD, curation=ALONE), Layout(root), SilentLog())
    torch.manual_seed(0)
    Dover(**CONFIG).save_pretrained(root / "artifacts/foundation/dover")
    expected = measured(root, ALONE, SilentLog())
    assert len(expected) == 13
    return root, expected


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node on loopback, to which this process stays connected: its workers load the libraries once."""
    telemetry.switch_off()
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'hummingbird[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ":".join([str(Path(__file__).parent), *sys.path]))
        patch.syspath_prepend(str(Path(__file__).parent))
        small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=small)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def on(cluster: Any) -> Curation:
    return Curation(engine="ray", address=cluster.address, measure=SMALL, prepare=SMALL)


def test_worker_processes_give_the_same_scores(ready: tuple[Path, dict[str, bytes]]) -> None:
    root, expected = ready
    assert measured(root, Curation(workers=2, measure=Needs(cpus=0.5, memory_gb=0.25)), SilentLog()) == expected


def test_a_ray_cluster_gives_the_same_scores(
    ready: tuple[Path, dict[str, bytes]], cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, expected = ready
    monkeypatch.chdir(root)  # which is not where the nodes were started
    assert measured(Path(), on(cluster), SilentLog()) == expected


class Killer(SilentLog):
    """Kills a node when the first result is there: as soon as it has done one task and works on another."""

    def __init__(self, cluster: Any, node: Any, signatures: Path) -> None:
        self.cluster, self.node, self.signatures = cluster, node, signatures
        self.left: list[Path] = []

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        for number, item in enumerate(items):
            if number == 0:
                self.kill()
            yield item

    def kill(self) -> None:
        deadline = time.monotonic() + 60
        while not (list(self.signatures.glob(f"{self.node.node_id}-*")) and self.is_busy()):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        self.cluster.remove_node(self.node, allow_graceful=False)
        self.left = list(self.signatures.iterdir())

    def is_busy(self) -> bool:
        """Ray shows in the name of a process that it works on a task."""
        raylet = psutil.Process(self.node.all_processes["raylet"][0].process.pid)
        return any("ray::_call" in " ".join(worker.cmdline()) for worker in raylet.children())


def test_a_node_killed_in_the_middle_changes_no_score(
    ready: tuple[Path, dict[str, bytes]], cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    import signed_work  # beside this file, where the nodes find it too
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    root, expected = ready
    monkeypatch.setattr(measure, "measure_shard", signed_work.measure_and_sign)
    second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    for node in (cluster.head_node, second):  # else one would do all the work while the other loads its libraries
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        warm_up = ray.remote(num_cpus=1, scheduling_strategy=there)(signed_work.warm_up)
        ray.get(warm_up.remote(root / "artifacts/foundation/dover"))
    killer = Killer(cluster, second, root / "signatures")
    assert measured(root, on(cluster), killer) == expected
    assert 1 <= len(killer.left) < 12
    nodes = [path.name.partition("-")[0] for path in (root / "signatures").iterdir()]
    assert set(nodes) == {second.node_id, cluster.head_node.node_id}
    assert len(nodes) >= 12


def test_a_ray_cluster_prepares_the_same_clips(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the world, and of a crawl whose videos need mending or cannot be used."""
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    for number in range(6):
        video = np.random.default_rng(number).integers(0, 256, (12, 24, 36, 3), dtype=np.uint8)
        (crawl / f"{number}.mp4").write_bytes(encode_mp4(video, 90 if number == 3 else 8))
        (crawl / f"{number}.txt").write_text(f"noise {number}")
    (crawl / "torn.mp4").write_bytes((crawl / "0.mp4").read_bytes()[:500])
    monkeypatch.chdir(tmp_path)
    for name, source in {"world": WORLD, "crawl": Download(source="crawl", clips_per_shard=4)}.items():
        download.run(Params(download=source, curation=ALONE), Layout(Path(name, "alone")), SilentLog())
        download.run(Params(download=source, curation=on(cluster)), Layout(Path(name, "ray")), SilentLog())
        found = contents(tmp_path / name / "ray/data")
        assert found == contents(tmp_path / name / "alone/data")
        assert len([path for path in found if path.endswith(".tar")]) == (12 if name == "world" else 2)
