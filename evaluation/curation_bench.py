"""How fast clips are measured: one decoding against one per filter, one process against two, and memory by number.

    python -m evaluation.curation_bench --real ../shared/clips --out evaluation/results/curation.json

Ratios are of runs that alternate in one process, each with one thread. Nothing of it runs in the pipeline.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.latency.harness import processor_name
from evaluation.statistics import median_ratio
from hummingbird.data import video_io, world
from hummingbird.data.clips import clip_table
from hummingbird.data.flow import Flow, dis_flow
from hummingbird.data.measuring.clip import MOTION, PARTS, QUALITY, STRIP, look_at
from hummingbird.data.measuring.shard import ShardJob, load_dover, measure_shard, one_thread, score_looks
from hummingbird.data.shards import Sample, write_shard
from hummingbird.files import write_json
from hummingbird.models.dover import Dover
from hummingbird.params import Measure, load_params
from hummingbird.workers import process_pool

WORLD_SEED, SPOILT = 4711, 0.4
WORLD_CLIPS, SCALING_CLIPS, MEMORY_CLIPS = 300, 600, (100, 1000, 3000)
SHARD = 50  # clips
WARMUP = 8  # clips
TURN = 8  # clips

Clips = list[tuple[dict[str, Any], bytes]]  # rows of a clip table, with the videos


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement needs. ``dover``: the model's folder."""

    settings: Measure
    dover: Path
    repeats: int


def world_clips(count: int) -> Clips:
    """Clips of the miniature world as the download makes them."""
    clips = (world.make_clip(WORLD_SEED, index, spoilt_share=SPOILT) for index in range(count))
    return [_clip(f"world-{index:06d}", video_io.encode_mp4(clip.video, 8)) for index, clip in enumerate(clips)]


def real_clips(folder: Path) -> Clips:
    """The videos of a folder, but for those that do not decode."""
    found = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".mkv", ".mov", ".webm")):
        try:
            found.append(_clip(path.stem, path.read_bytes()))
        except video_io.VideoError:
            continue
    return found


def _clip(clip_id: str, video: bytes) -> tuple[dict[str, Any], bytes]:
    info = video_io.probe(video)
    row = {"clip_id": clip_id, "shard": "", "key": clip_id, "caption": "", "duration_s": info.duration_s}
    row |= {"fps": info.fps, "width": info.width, "height": info.height, "num_frames": info.num_frames}
    return {**row, "sha256": "", "source": "bench", "kept": True, "reason": ""}, video


def time_decodings(clips: Clips, bench: Bench) -> dict[str, Any]:
    """Seconds for all ``clips``: everything from one decoding; each filter, and the contact sheets, with their own;
    and, to compare with, decoding alone."""
    walk = partial(_walk, settings=bench.settings, model=load_dover(bench.dover), flow=dis_flow())

    def single(part: Clips) -> None:
        walk(part, PARTS)

    def per_filter(part: Clips) -> None:
        passed = walk(part, frozenset({QUALITY}))
        walk(passed, frozenset({MOTION}))  # what the first filter condemns, the second never sees
        walk(part, frozenset({STRIP}))

    def decoding(part: Clips) -> None:
        for _, video in part:
            video_io.probe(video)

    ways = {"single_decode": single, "decode_per_filter": per_filter, "decoding_alone": decoding}
    with one_thread():
        walk(clips[:WARMUP], PARTS)
        seconds = in_turns(ways, clips, bench.repeats)
    rates = {name: len(clips) / float(np.median(values)) for name, values in seconds.items()}
    ratio = median_ratio(seconds["decode_per_filter"], seconds["single_decode"]).to_json()
    return {"clips": len(clips), "seconds": seconds, "clips_per_s_per_core": rates, "ratio": ratio}


def in_turns(ways: Mapping[str, Callable[[Clips], None]], clips: Clips, repeats: int) -> dict[str, list[float]]:
    """Seconds that each way takes for all clips; they take turns every few clips, so that a slow spell of the machine
    hits all alike."""
    seconds = {name: [0.0] * repeats for name in ways}
    for run in range(repeats):
        for first in range(0, len(clips), TURN):
            for name, way in ways.items():
                start = time.perf_counter()
                way(clips[first : first + TURN])
                seconds[name][run] += time.perf_counter() - start
    return seconds


def _walk(clips: Clips, parts: frozenset[str], *, settings: Measure, model: Dover, flow: Flow) -> Clips:
    """Measure ``parts`` of all clips, as a shard is measured; returns those that the cheap signals let through."""
    passed: Clips = []
    for start in range(0, len(clips), settings.batch_size):
        batch = clips[start : start + settings.batch_size]
        looks = [
            look_at(video, row, settings, views=model.view_sizes, flow=flow, seed=1, parts=parts)
            for row, video in batch
        ]
        list(score_looks(model, looks))
        passed += [clip for clip, look in zip(batch, looks, strict=True) if look.views is not None]
    return passed


def time_processes(clips: Clips, bench: Bench) -> dict[str, Any]:
    """Seconds for all ``clips`` in shards, by one worker process and by two, both warm."""
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    with tempfile.TemporaryDirectory() as name:
        jobs = _jobs(clips, Path(name), bench)
        with process_pool(1) as one, process_pool(2) as two:
            for pool, count in ((one, 1), (two, 2)):  # each process imports torch and loads the model
                list(pool.map(measure_shard, jobs[: 2 * count]))
            for _ in range(bench.repeats):
                for key, pool in (("1", one), ("2", two)):
                    shutil.rmtree(jobs[0].parts)
                    start = time.perf_counter()
                    list(pool.map(measure_shard, jobs))
                    seconds[key].append(time.perf_counter() - start)
    ratio = median_ratio(seconds["1"], seconds["2"]).to_json()
    rates = {key: len(clips) / float(np.median(values)) for key, values in seconds.items()}
    return {"clips": len(clips), "shard": SHARD, "seconds": seconds, "clips_per_s": rates, "ratio": ratio}


def _jobs(clips: Clips, folder: Path, bench: Bench) -> list[ShardJob]:
    jobs = []
    for number in range(0, len(clips), SHARD):
        part, shard = clips[number : number + SHARD], f"{number // SHARD:05d}.tar"
        write_shard(folder / shard, [Sample(row["key"], video) for row, video in part])
        rows = clip_table([{**row, "shard": shard} for row, _ in part])
        jobs.append(ShardJob(folder, rows, bench.settings, 1, bench.dover, folder / "parts"))
    return jobs


def measure_memory(bench: Bench) -> list[dict[str, int]]:
    """Largest resident set of a process that measures so many clips."""
    context = multiprocessing.get_context("spawn")
    found = []
    for count in MEMORY_CLIPS:
        with tempfile.TemporaryDirectory() as name:
            jobs = _jobs(world_clips(count), Path(name), bench)
            with context.Pool(1) as pool:
                found.append({"clips": count, "peak_bytes": pool.apply(_peak_of, (jobs,))})
    return found


def _peak_of(jobs: list[ShardJob]) -> int:
    for job in jobs:
        measure_shard(job)
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: what getrusage says, a process inherits from its parent
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes


def conditions(bench: Bench) -> dict[str, Any]:
    """What is needed to repeat the runs."""
    packages = ("torch", "av", "opencv-python-headless", "numpy", "polars")
    return {
        "command": "python -m evaluation.curation_bench " + " ".join(sys.argv[1:]),
        "processor": processor_name(),
        "cores": multiprocessing.cpu_count(),
        "threads_per_process": 1,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "world": {"seed": WORLD_SEED, "spoilt_share": SPOILT, "frames": 8, "size": 32},
        "repeats": bench.repeats,
        "warmup_clips": WARMUP,
        "settings": bench.settings.model_dump(mode="json"),
    }


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a folder of real clips")
    parser.add_argument("--dover", type=Path, default=Path("artifacts/foundation/dover"))
    parser.add_argument("--out", type=Path, default=Path("evaluation/results/curation.json"))
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    bench = Bench(load_params().measure, given.dover, given.repeats)
    results: dict[str, Any] = {"conditions": conditions(bench)}
    results["world"] = time_decodings(world_clips(WORLD_CLIPS), bench)
    if given.real:
        results["real"] = time_decodings(real_clips(given.real), bench)
    results["processes"] = time_processes(world_clips(SCALING_CLIPS), bench)
    results["memory"] = measure_memory(bench)
    write_json(given.out, results)
    print(json.dumps({name: value for name, value in results.items() if name != "conditions"}, indent=2))


if __name__ == "__main__":
    main()
