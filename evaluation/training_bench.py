"""Samples a second of a stage-1 step from cached latents, against the original loop's order of work.

    python -m evaluation.training_bench --out evaluation/results/training_speed.json

The original loop makes its batch anew in each step: it decodes the video files, encodes every frame by the VAE (one at
a time for the regression, a clip at a time for the consistency distillation) and the captions by the text tower, and
asks the teacher twice, with and without the caption, all in single precision. Ours reads latents and embeddings that
were made once, and asks the teacher for both in one batch. Everything else is the same: networks (random weights, see
evaluation/untrained.py), clips, noise, timesteps and guidance scales, the student's passes, clipping and AdamW. So is
what could only flatter us left out: videos are as long and as large as what is trained on, and the original loop gets
our faster layers.

Both take turns, step by step, in one process. Only the ratios of one run mean something.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.latency.harness import describe, speedup
from evaluation.latency.machine import where_and_what
from evaluation.untrained import FPS, SIZES, Clip, Networks, build, cache_latents, draw_clips
from hummingbird.data import video_io
from hummingbird.files import write_json
from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.pruning import count_parameters
from hummingbird.models.text import encode_prompts
from hummingbird.models.vae import encode_frames, pixels_from_video
from hummingbird.training.methods.cfg_distillation import CfgDistillation
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.trainer import step_seed

GUIDANCE = (2.5, 5.0)
LEARNING_RATE, MAX_NORM = 1e-4, 1.0
CRF = 18  # of the videos that the original loop decodes
METHODS = ("distillation", "consistency")
ORIGINAL, OURS = "original_order", "ours"

Batch = dict[str, Any]


class Laps:
    """Seconds by part of a step; what is in no part is the student's: its passes, clipping and AdamW."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self, whole: float) -> dict[str, float]:
        """The parts of a step of ``whole`` seconds, and a new start."""
        parts, self.seconds = self.seconds, {}
        return {**parts, "student": whole - sum(parts.values())}


class TimedTeacher(GuidedTeacher):
    """Both passes in one batch, as in training, with a lap of their own."""

    def __init__(self, unet: nn.Module, null_text: Tensor, laps: Laps) -> None:
        super().__init__(unet, null_text)
        self.laps = laps

    def __call__(self, noisy: Tensor, timesteps: Tensor, text: Tensor, guidance: Tensor, fps: Tensor) -> Tensor:
        with self.laps.part("teacher"):
            return super().__call__(noisy, timesteps, text, guidance, fps)


class SeparateTeacher(TimedTeacher):
    """Two calls, one after the other."""

    @torch.no_grad()
    def __call__(self, noisy: Tensor, timesteps: Tensor, text: Tensor, guidance: Tensor, fps: Tensor) -> Tensor:
        with self.laps.part("teacher"):
            cond = self.unet(noisy, timesteps, text, fps=fps).sample
            uncond = self.unet(noisy, timesteps, self.null_text.expand(len(text), -1, -1), fps=fps).sample
            return uncond + guidance.view(-1, *([1] * (noisy.ndim - 1))) * (cond - uncond)


class CachedData:
    """The batch of a step from cached latents."""

    def __init__(self, batches: Callable[[int], Batch], laps: Laps) -> None:
        self.batches, self.laps = batches, laps

    def __call__(self, step: int) -> Batch:
        with self.laps.part("read"):
            return self.batches(step)


class VideoData:
    """The batch of a step from video files and captions, with nothing kept from one step to the next.

    Args:
        files: caption -> video.
        captions: those of a step.
        frames_at_once: through the VAE; None = a whole clip.
    """

    def __init__(
        self,
        networks: Networks,
        files: dict[str, Path],
        captions: Callable[[int], list[str]],
        frames_at_once: int | None,
        laps: Laps,
    ) -> None:
        self.networks, self.files, self.captions = networks, files, captions
        self.frames_at_once, self.laps = frames_at_once, laps

    @torch.no_grad()
    def __call__(self, step: int) -> Batch:
        captions = self.captions(step)
        with self.laps.part("decode"):
            videos = [pixels_from_video(torch.from_numpy(video_io.decode(self.files[c])[0])) for c in captions]
        with self.laps.part("vae"):
            latents = [self._encode(video) for video in videos]
        with self.laps.part("text"):
            text = encode_prompts(self.networks.text_encoder, self.networks.tokenizer, captions)
        fps = torch.full((len(captions),), float(FPS))
        return {"latents": torch.stack(latents).transpose(1, 2), "text": text, "fps": fps, "captions": captions}

    def _encode(self, video: Tensor) -> Tensor:
        parts = video.split(self.frames_at_once or len(video))
        latents = torch.cat([encode_frames(self.networks.vae, part) for part in parts])
        return latents.contiguous()  # noise is drawn in the order in which they lie in memory


class Loop:
    """One way to run the steps of one method, with a student and an optimiser of its own."""

    def __init__(
        self, method: str, networks: Networks, teacher: GuidedTeacher, data: Callable[[int], Batch], laps: Laps
    ) -> None:
        kind = {"distillation": CfgDistillation, "consistency": ConsistencyDistillation}[method]
        student = copy.deepcopy(networks.student).train()
        self.method = kind(student, teacher, NoiseSchedule(networks.scheduler), guidance=GUIDANCE)
        self.data, self.laps = data, laps
        self.cpu_s: list[float] = []
        self.parameters = list(student.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def step(self, step: int) -> tuple[float, dict[str, float]]:
        """The loss, and the seconds by part; those of the processor alone are added to ``cpu_s``."""
        start, cpu_start = time.perf_counter(), time.process_time()
        torch.manual_seed(step_seed(0, step))
        loss, _ = self.method.loss(self.data(step), step)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        found = float(loss.detach())
        self.cpu_s.append(time.process_time() - cpu_start)
        return found, self.laps.take(time.perf_counter() - start)


def make_loops(method: str, networks: Networks, clips: Sequence[Clip], size: str, folder: Path) -> dict[str, Loop]:
    """Both loops over the same clips, which are cached as latents and written as video files below ``folder``."""
    wanted = SIZES[size]
    files = {clip.caption: folder / f"{number}.mp4" for number, clip in enumerate(clips)}
    for clip in clips:
        video_io.write_mp4(files[clip.caption], clip.video, FPS, crf=CRF)
    stored = [Clip(video_io.decode(file)[0], caption) for caption, file in files.items()]
    batches = cache_latents(folder / "latents", networks, stored).batches(wanted.batch, wanted.frames)
    picks: dict[int, list[str]] = {}

    def captions(step: int) -> list[str]:
        return picks[step]

    def batch(step: int) -> Batch:  # runs first in each step, and so tells the other what it took
        found = batches(step)
        picks[step] = found["captions"]
        return found

    with torch.no_grad():
        null_text = encode_prompts(networks.text_encoder, networks.tokenizer, [""])
    ours, original = Laps(), Laps()
    at_once = 1 if method == "distillation" else None
    return {
        OURS: Loop(method, networks, TimedTeacher(networks.teacher, null_text, ours), CachedData(batch, ours), ours),
        ORIGINAL: Loop(
            method,
            networks,
            SeparateTeacher(networks.teacher, null_text, original),
            VideoData(networks, files, captions, at_once, original),
            original,
        ),
    }


def time_method(method: str, size: str, repeats: int, warmup: int) -> dict[str, Any]:
    """Seconds of every step of both loops, where they go, samples a second and the ratio."""
    networks, wanted = build(size, seed=0), SIZES[size]
    clips = draw_clips(wanted, 4 * wanted.batch, seed=1)
    parts: dict[str, list[dict[str, float]]] = {OURS: [], ORIGINAL: []}
    losses: dict[str, list[float]] = {OURS: [], ORIGINAL: []}
    with tempfile.TemporaryDirectory() as name:
        loops = make_loops(method, networks, clips, size, Path(name))
        for step in range(-warmup, repeats):
            for way, loop in loops.items():
                loss, laps = loop.step(step + warmup)
                if step >= 0:
                    parts[way].append(laps)
                    losses[way].append(loss)
    seconds = {way: [sum(step.values()) for step in found] for way, found in parts.items()}
    cpu = {way: loop.cpu_s[warmup:] for way, loop in loops.items()}
    return {
        "runs": {way: describe(values, warmup) for way, values in seconds.items()},
        "samples_per_s": {way: wanted.batch / float(np.median(values)) for way, values in seconds.items()},
        "ratio": _ratio(seconds),
        "cpu_s": cpu,
        "ratio_of_cpu_time": _ratio(cpu),  # says more where other programs run beside
        "share": {way: shares(found) for way, found in parts.items()},
        "losses": losses,
    }


def _ratio(seconds: Any) -> dict[str, Any]:
    """How many times as fast ours is. Whether it excludes 0 says nothing of a ratio."""
    return {name: value for name, value in speedup(seconds, ORIGINAL, OURS).items() if name != "excludes_zero"}


def shares(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Share of all seconds by part of the step."""
    whole = sum(sum(step.values()) for step in steps)
    return {part: sum(step[part] for step in steps) / whole for part in steps[0]}


def measure(size: str, repeats: int, warmup: int) -> dict[str, Any]:
    """Both methods at one size."""
    networks = build(size, seed=0)
    names = ("teacher", "student", "vae", "text_encoder")
    return {
        "size": asdict(SIZES[size]),
        "parameters": {name: count_parameters(getattr(networks, name)) for name in names},
        **{method: time_method(method, size, repeats, warmup) for method in METHODS},
    }


def main() -> None:
    """Run all sizes and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["miniature", "mid"])
    parser.add_argument("--repeats", type=int, default=12, help="steps of each loop")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, help="of torch; none = its choice")
    parser.add_argument("--out", type=Path, default=Path("evaluation/results/training_speed.json"))
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    results: dict[str, Any] = {
        "command": "python -m evaluation.training_bench " + " ".join(sys.argv[1:]),
        "conditions": where_and_what(torch.device("cpu"), Path(__file__).parent),
        "precision": "fp32",
        "sizes": {size: measure(size, given.repeats, given.warmup) for size in given.sizes},
    }
    write_json(given.out, results)
    for size, found in results["sizes"].items():
        for method in METHODS:
            kept = {name: found[method][name] for name in ("samples_per_s", "ratio", "ratio_of_cpu_time", "share")}
            print(size, method, json.dumps(kept, indent=2))


if __name__ == "__main__":
    main()
