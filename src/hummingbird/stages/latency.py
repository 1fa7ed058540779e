"""Stage ``latency``: the teacher (50 steps, CFG) against the reward-tuned student (4 steps), prompt to pixels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from evaluation.latency.harness import (
    Contender,
    conditions,
    describe,
    model_facts,
    speedup,
    time_components,
    time_in_turns,
)
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Latency, Params
from hummingbird.pipelines.loading import load_pipeline
from hummingbird.runlog import RunLog

TEACHER, STUDENT = "teacher", "stage2"


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Time both models in turns at batch 1 and at one larger batch; write ``reports/latency``.

    Raises:
        UserError: a model is missing, or the disk is full.
    """
    settings = params.latency
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipelines = {name: load_pipeline(layout, name).to(device) for name in (TEACHER, STUDENT)}
    batches = {
        batch: time_in_turns(
            [
                Contender(TEACHER, pipelines[TEACHER], teacher_repeats),
                Contender(STUDENT, pipelines[STUDENT], student_repeats),
            ],
            settings.prompt,
            batch,
            settings.warmup,
            log,
        )
        for batch, teacher_repeats, student_repeats in (
            (1, settings.teacher_repeats, settings.student_repeats),
            (settings.large_batch, settings.large_batch_repeats, settings.large_batch_repeats * 2),
        )
    }
    components = {
        name: time_components(pipeline, settings.prompt, 1, settings.component_repeats)
        for name, pipeline in pipelines.items()
    }
    where = conditions(pipelines[TEACHER])
    models = {
        name: {
            **model_facts(pipeline),
            "batches": {str(batch): describe(seconds[name], settings.warmup) for batch, seconds in batches.items()},
            "components": components[name],
        }
        for name, pipeline in pipelines.items()
    }
    speedups = {str(batch): speedup(seconds, TEACHER, STUDENT) for batch, seconds in batches.items()}
    summary = {"conditions": where, "prompt": settings.prompt, "models": models, "speedup_end_to_end": speedups}
    with replacing_folder(layout.latency) as folder:
        _write(folder, summary)
    return _headline(summary, settings)


def _write(folder: Path, summary: dict[str, Any]) -> None:
    """One file for each model and machine, by name, and one with both and their ratio."""
    hardware = re.sub(r"[^a-z0-9]+", "-", summary["conditions"]["device"].lower()).strip("-")
    for name, figures in summary["models"].items():
        content = {"model": name, "conditions": summary["conditions"], "prompt": summary["prompt"], **figures}
        (folder / f"{name}_{hardware}.json").write_text(json.dumps(content, indent=1, allow_nan=False))
    (folder / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False))


def _headline(summary: dict[str, Any], settings: Latency) -> dict[str, float]:
    single, large = summary["speedup_end_to_end"]["1"], summary["speedup_end_to_end"][str(settings.large_batch)]
    flat = {
        "speedup_end_to_end": single["value"],
        "speedup_end_to_end_low": single["low"],
        "speedup_end_to_end_high": single["high"],
        f"speedup_batch_{settings.large_batch}": large["value"],
    }
    for name, figures in summary["models"].items():
        flat[f"{name}.latency_s"] = figures["batches"]["1"]["median_s"]
        flat[f"{name}.latency_p95_s"] = figures["batches"]["1"]["p95_s"]
        flat |= {f"{name}.{part}_s": times["median_s"] for part, times in figures["components"].items()}
    return flat
