"""Ablations in the default world: each choice of the method against its alternatives, on several training seeds.

    python -m evaluation.ablations                             # all cells; goes on where it was stopped
    python -m evaluation.ablations --only anchor_none --seeds 1 --steps-scale 0.1

Reads the foundation and the latents of the project; trains below ``.work/ablations``, where every finished cell leaves
a JSON file and is not run again. Seeds share nothing: two processes with different ``--seeds`` may run side by side.
Writes evaluation/results/ablations.json and the tables of docs/ablations.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.ablation_cells import Cell, cells, scaled
from evaluation.ablation_tables import write_tables
from evaluation.latency.machine import where_and_what
from evaluation.metrics import clip_figures
from evaluation.vbench.judges import Judges, load_judges
from evaluation.vbench.prompts import Prompt, build_suite, render_prompts, suite_hash
from evaluation.vbench.sampling import Generator, Job, sample
from hummingbird.errors import UserError, did_you_mean
from hummingbird.files import link_or_copy, read_json, write_json
from hummingbird.layout import Layout
from hummingbird.params import Params, load_params, with_overrides
from hummingbird.pipelines.loading import load_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import SilentLog
from hummingbird.stages import reneg, stage1, stage2
from hummingbird.training.per_prompt import Sampling, fit_model

ROOT = Path(__file__).parents[1]
RESULTS, DOCS = ROOT / "evaluation/results/ablations.json", ROOT / "docs/ablations.md"
FIGURES = ("probe_all", "held_out_reward", "held_out_image_reward", "held_out_video_reward", "flicker")
STAGES = {"stage1": stage1.run, "stage2": stage2.run, "reneg": reneg.run}


@dataclass(frozen=True)
class Study:
    """What all cells of one seed share.

    Args:
        prompts: held-out prompts that students are judged on; ``guided_prompts`` of them where the teacher samples
            under guidance, in ``guided_steps`` steps, because that is dear.
    """

    project: Layout
    params: Params
    work: Path
    seed: int
    prompts: int
    guided_prompts: int
    guided_steps: int

    def layout(self, name: str) -> Layout:
        """Where a cell is trained; foundation and latents are the project's."""
        return Layout(self.work / f"seed-{self.seed}" / name, self.project.root)


def run_cell(study: Study, cell: Cell, judges: Judges) -> dict[str, Any]:
    """Train and judge a cell, or read what an earlier run found for the same settings."""
    layout = study.layout(cell.name)
    params = with_overrides(study.params, {**cell.overrides, "seed": study.seed})
    settings = {"params": params.model_dump(mode="json"), "study": _numbers(study), "kind": cell.kind}
    found = read_json(layout.root / "cell.json")
    if found.get("settings") == settings:
        return found
    start = time.perf_counter()
    _link_inputs(study, cell, layout)
    if cell.kind in STAGES:
        STAGES[cell.kind](params, layout, SilentLog())
    trained = time.perf_counter()
    suite = build_suite(study.prompts, 1, params.vbench.prompt_seed)
    clips = _sample(study, cell, params, layout, suite)
    figures = _judge(clips, suite, study.seed, judges)
    shutil.rmtree(layout.root / "clips")
    shutil.rmtree(layout.root / ".work", ignore_errors=True)  # the checkpoints of a training that is done
    seconds = {"training": trained - start, "judging": time.perf_counter() - trained}
    found = {"settings": settings, "n": len(clips), "figures": figures, "seconds": seconds}
    write_json(layout.root / "cell.json", found)
    return found


def _numbers(study: Study) -> dict[str, int]:
    return {name: getattr(study, name) for name in ("seed", "prompts", "guided_prompts", "guided_steps")}


def _link_inputs(study: Study, cell: Cell, layout: Layout) -> None:
    """Give the cell's project the latents, and the output of the cell it is based on."""
    shutil.rmtree(layout.root / "artifacts", ignore_errors=True)
    for file in study.project.latents.iterdir():
        target = layout.latents / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            link_or_copy(file, target)
    if cell.base is not None:
        base = study.layout(cell.base)
        for made in ("stage1", "reneg"):
            if getattr(base, made).exists():
                shutil.copytree(getattr(base, made), getattr(layout, made), copy_function=os.link)


def _sample(study: Study, cell: Cell, params: Params, layout: Layout, suite: Sequence[Prompt]) -> NDArray[np.uint8]:
    """Clips of the held-out prompts by the cell's model; the noise of a prompt is the same in all cells of a seed."""
    generator, count, size = _generator(study, cell, params, layout)
    jobs = [Job(position, study.seed) for position in range(count)]
    return sample(generator, jobs, suite, layout.root / "clips", SilentLog(), batch_size=size)


def _generator(study: Study, cell: Cell, params: Params, layout: Layout) -> tuple[Generator, int, int]:
    """What makes the clips, how many of them, and how many at once."""
    size = params.vbench.batch_size
    if cell.kind in ("stage1", "stage2"):
        return load_pipeline(layout, cell.kind), study.prompts, size
    pipeline = load_pipeline(layout, "reneg" if layout.reneg.exists() else "teacher")
    pipeline.register_to_config(num_inference_steps=study.guided_steps)
    if cell.kind == "per_sample":
        return partial(_fitted, pipeline, params, layout), study.guided_prompts, 1
    if cell.kind == "handwritten":
        with torch.no_grad():
            pipeline.negative_prompt_embeds = pipeline.encode([params.vbench.negative_prompt])
    return pipeline, study.guided_prompts, size


def _fitted(
    pipeline: TextToVideoPipeline,
    params: Params,
    layout: Layout,
    prompts: list[str],
    seeds: list[int],
    *,
    negative_prompt: str | None = None,
) -> Any:
    """One clip, with the negative embedding fitted to its prompt from the one that was learned for all."""
    learned = pipeline.negative_prompt_embeds
    config = pipeline.config
    sampling = Sampling(
        prompts[0], seeds[0], config.num_inference_steps, config.guidance_scale, config.num_frames, config.fps
    )
    try:
        fit_model(pipeline, sampling, params.reneg, layout, SilentLog())
        return pipeline(prompts, seeds)
    finally:
        pipeline.negative_prompt_embeds = learned


def _judge(clips: NDArray[np.uint8], suite: Sequence[Prompt], seed: int, judges: Judges) -> dict[str, float]:
    """Means of the figures over the clips."""
    prompts = suite[: len(clips)]
    noise = [Job(position, seed).noise_seed for position in range(len(clips))]
    real = render_prompts(prompts, noise, frames=clips.shape[1], size=clips.shape[2])
    found = clip_figures(clips, prompts, real, judges)
    return {name: float(found[name].mean()) for name in FIGURES}


def wanted_cells(params: Params, only: Sequence[str] | None) -> list[Cell]:
    """The cells to run: all, or those named and those they are based on.

    Raises:
        UserError: a name is no cell.
    """
    every = cells(params)
    for name in only or []:
        if name not in every:
            raise UserError(f"there is no cell {name!r}", did_you_mean(name, every))
    named = set(only or every)
    named |= {base for name in named if (base := every[name].base)}
    return [cell for name, cell in every.items() if name in named]


def run_all(studies: Sequence[Study], only: Sequence[str] | None) -> dict[str, Any]:
    """Results by cell and seed, with progress on the way."""
    judges = load_judges(studies[0].project.foundation)
    wanted = wanted_cells(studies[0].params, only)
    found: dict[str, Any] = {cell.name: {} for cell in wanted}
    total, done = len(wanted) * len(studies), 0
    for study in studies:
        for cell in wanted:
            result = run_cell(study, cell, judges)
            done += 1
            kept = {name: result[name] for name in ("n", "figures", "seconds")}
            found[cell.name][str(study.seed)] = {**kept, "overrides": dict(cell.overrides)}
            shown = ", ".join(f"{name} {value:.3f}" for name, value in list(result["figures"].items())[:2])
            print(f"{done}/{total} seed {study.seed} {cell.name}: {shown}", flush=True)
    return found


def main() -> None:
    """Run what is missing, then write the results and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=ROOT, help="whose foundation and latents are used")
    parser.add_argument("--work", type=Path, default=ROOT / ".work/ablations")
    parser.add_argument("--only", nargs="+", help="names of cells")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps-scale", type=float, default=0.5, help="of the default run's steps")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--guided-prompts", type=int, default=24)
    parser.add_argument("--guided-steps", type=int, default=12)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    given = parser.parse_args()
    params = scaled(load_params(ROOT / "params.yaml"), given.steps_scale)
    work = given.work / f"scale-{given.steps_scale:g}"
    numbers = (given.prompts, given.guided_prompts, given.guided_steps)
    project = Layout(given.project.absolute())
    studies = [Study(project, params, work.absolute(), seed, *numbers) for seed in given.seeds]
    found = run_all(studies, given.only)
    header = {
        "conditions": where_and_what(torch.device("cpu"), ROOT),
        "steps_scale": given.steps_scale,
        "seeds": given.seeds,
        "prompts": given.prompts,
        "prompts_sha256": suite_hash(build_suite(given.prompts, 1, params.vbench.prompt_seed)),
        "guided_prompts": given.guided_prompts,
        "guided_steps": given.guided_steps,
    }
    results = {"header": header, "cells": found}
    write_json(given.out, results)
    write_tables(given.docs, results)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error.problem}\nnext:  {error.next_step}") from None
