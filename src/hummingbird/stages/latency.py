"""Stage ``latency``: every model, prompt to pixels; above all the teacher (50 steps, CFG) against the reward-tuned
student (4 steps), and the student with the light decoder in the VAE's place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import torch

from evaluation.latency.harness import (
    Contender,
    conditions,
    describe,
    model_facts,
    speedup,
    time_components,
    time_decoding,
    time_in_turns,
)
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Latency, Params
from hummingbird.pipelines.decoders import load_decoder, with_decoder
from hummingbird.pipelines.loading import ModelName, load_pipeline, require
from hummingbird.runlog import RunLog

TEACHER, STUDENT, LIGHT = "teacher", "stage2", "stage2_light"
GUIDED = ("teacher", "reneg")  # sample with classifier-free guidance in many steps, so they are timed less often


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Time all models in turns at batch 1, teacher and student also at one larger batch and by component; write
    ``reports/latency``.

    Raises:
        UserError: a model is missing, or the disk is full.
    """
    settings = params.latency
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    light = load_decoder(require(layout.decoder, "decoder"))
    pipelines = {name: load_pipeline(layout, name).to(device) for name in get_args(ModelName)}
    pipelines[LIGHT] = with_decoder(pipelines[STUDENT], light)
    repeats = {True: settings.teacher_repeats, False: settings.student_repeats}
    single = [Contender(name, pipe, repeats[name in GUIDED]) for name, pipe in pipelines.items()]
    large = [
        Contender(TEACHER, pipelines[TEACHER], settings.large_batch_repeats),
        Contender(STUDENT, pipelines[STUDENT], settings.large_batch_repeats * 2),
    ]
    batches = {
        batch: time_in_turns(contenders, settings.prompt, batch, settings.warmup, log)
        for batch, contenders in ((1, single), (settings.large_batch, large))
    }
    components = {
        name: time_components(pipelines[name], settings.prompt, 1, settings.component_repeats)
        for name in (TEACHER, STUDENT, LIGHT)
    }
    decoding = time_decoding(
        {name: pipelines[name] for name in (STUDENT, LIGHT)}, settings.prompt, settings.student_repeats
    )
    where = conditions(pipelines[TEACHER])
    models = {
        name: {
            **model_facts(pipeline),
            "batches": {
                str(batch): describe(seconds[name], settings.warmup)
                for batch, seconds in batches.items()
                if name in seconds
            },
            "components": components.get(name, {}),
        }
        for name, pipeline in pipelines.items()
    }
    speedups = {str(batch): speedup(seconds, TEACHER, STUDENT) for batch, seconds in batches.items()}
    summary = {
        "conditions": where,
        "prompt": settings.prompt,
        "models": models,
        "speedup_end_to_end": speedups,
        "light_decoder": {
            "speedup_end_to_end": speedup(batches[1], STUDENT, LIGHT),
            "speedup_decoding": speedup(decoding, STUDENT, LIGHT),
            "decoding": {name: describe(seconds, 1) for name, seconds in decoding.items()},
        },
    }
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
        **{
            f"light_decoder.{name}": summary["light_decoder"][name]["value"]
            for name in ("speedup_end_to_end", "speedup_decoding")
        },
    }
    for name, figures in summary["models"].items():
        flat[f"{name}.latency_s"] = figures["batches"]["1"]["median_s"]
        flat[f"{name}.latency_p95_s"] = figures["batches"]["1"]["p95_s"]
        flat |= {f"{name}.{part}_s": times["median_s"] for part, times in figures["components"].items()}
    return flat
