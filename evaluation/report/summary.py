"""Every figure of the report under a stable name: ``reports/summary.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.report.captions import facts_stated, judge_captions
from evaluation.report.decoder import decoder_summary
from evaluation.report.filters import precision_and_recall
from evaluation.report.inputs import STAGES, Inputs
from evaluation.report.lineage import Lineage

MODELS = ("teacher", "pruned", "stage1", "stage2", "reneg")
FIGURES = (
    "params",
    "steps",
    "probe_all",
    "probe_color",
    "probe_shape",
    "probe_motion",
    "held_out_reward",
    "flicker",
    "spread",
    "diversity",
)
SCORES = ("quality", "semantic", "total", "dimensions")

Tree = dict[str, Any]


def build_summary(inputs: Inputs, lineage: Lineage, seed: int) -> Tree:
    """The tree of all figures. One that was not measured is ``None``; none is estimated from another."""
    vbench = inputs.vbench or {}
    judged = None
    if "recaption" in inputs.tables and inputs.truth is not None:
        judged = judge_captions(inputs.tables["recaption"], inputs.truth)
    return {
        "models": {name: _model(name, inputs) for name in MODELS},
        "real_clips": _described(vbench.get("real_clips", {}), FIGURES[2:]),
        "real_clips_vae": _described(vbench.get("real_clips_vae", {}), FIGURES[2:-1]),
        "chance": vbench.get("chance"),
        "deltas": vbench.get("deltas"),
        "speedup_end_to_end": _speedup(inputs).get("value"),
        "speedup_end_to_end_ci": [_speedup(inputs)[end] for end in ("low", "high")] if _speedup(inputs) else None,
        "decoder": decoder_summary(inputs),
        "filters": precision_and_recall(inputs.tables, inputs.truth),
        "captions": facts_stated(judged),
        "vbench": {name: _scores(vbench.get("vbench", {}).get(name, {})) for name in (*MODELS, "real_clips")},
        "run": _run(inputs, lineage, seed),
    }


def _described(figures: Mapping[str, Any], names: tuple[str, ...]) -> Tree:
    """The figures of one model: values, ``n``, 95 % intervals (``ci``) and means by sampling seed (``seeds``)."""
    return {name: figures.get(name) for name in (*names, "n", "diversity_n", "ci", "seeds")}


def _model(name: str, inputs: Inputs) -> Tree:
    figures = (inputs.vbench or {}).get("models", {}).get(name, {})
    timed = (inputs.latency or {}).get("models", {}).get(name, {})
    single = timed.get("batches", {}).get("1", {})
    return {**_described(figures, FIGURES), "latency_s": single.get("median_s")}


def _scores(scores: Mapping[str, Any]) -> Tree:
    return {name: scores.get(name) for name in (*SCORES, "n")}


def _speedup(inputs: Inputs) -> Mapping[str, Any]:
    ratios: Mapping[str, Mapping[str, Any]] = (inputs.latency or {}).get("speedup_end_to_end", {})
    return ratios.get("1", {})


def _run(inputs: Inputs, lineage: Lineage, seed: int) -> Tree:
    """Wall time is the sum over the stages, memory the largest of them: nothing unless all of them ran."""
    complete = all(name in inputs.stages for name in STAGES)
    stages = inputs.stages.values()
    return {
        "git": lineage.commit,
        "dirty": lineage.dirty,
        "time": lineage.time,
        "seed": seed,
        "wall_s": sum(figures["wall_s"] for figures in stages) if complete else None,
        "peak_memory_bytes": max(figures["peak_memory_bytes"] for figures in stages) if complete else None,
    }


def gaps(inputs: Inputs) -> list[str]:
    """Why figures are missing, in words."""
    notes = []
    if missing := [name for name in STAGES if name not in inputs.stages]:
        notes.append(
            f"These stages have not run (dvc repro runs them), so their figures, the run's wall time and its memory "
            f"are missing: {', '.join(missing)}."
        )
    if "download" in inputs.tables and not inputs.has_truth:
        notes.append(
            "The clips come with no ground truth, as real ones do not, so nobody can say how right the filters and the "
            "new captions are: precision, recall and facts stated are missing."
        )
    if inputs.vbench is None:
        notes.append("No model has been judged (stage vbench): probe, rewards, VBench scores and videos are missing.")
    if inputs.latency is None:
        notes.append("No model has been timed (stage latency): latency and speed-up are missing.")
    return notes
