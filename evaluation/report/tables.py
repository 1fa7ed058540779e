"""The tables of the report, as rows of cells. Every cell names the figure of ``summary.json`` that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evaluation.report import formats
from evaluation.report.media import COLUMNS
from evaluation.report.summary import MODELS, Tree
from evaluation.vbench.protocol import DIMENSIONS

Format = Callable[[float | None], str]

LABELS = {
    **{name: COLUMNS[name] for name in MODELS},
    "stage2_light": "stage 2 with the light decoder",
    "real_clips": "real clips",
    "chance": "chance",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, a second line in small (mostly the interval), the figure's path and its exact value."""

    text: str
    detail: str = ""
    figure: str = ""
    value: float | None = None
    strong: bool = False
    bar: float | None = None  # share of the cell's width that is shaded


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    note: str = ""  # unit, definition
    cells: list[Cell] = field(default_factory=list)
    head: bool = False  # a group's heading, without cells


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the comparison: which figure, how it is called and written, and the scale of its interval."""

    name: str
    label: str
    note: str
    write: Format
    digits: int = 3
    scale: float = 1.0


_SHARE: dict[str, Any] = {"write": formats.percent, "digits": 1, "scale": 100.0}
MEASURES = (
    Measure("params", "Parameters", "of the denoiser", formats.count),
    Measure("steps", "Sampling steps", "", formats.count),
    Measure("latency_s", "Latency", "median, batch 1, end to end", formats.seconds),
    Measure("probe_all", "Probe: all three right", "colour, shape and motion as asked", **_SHARE),
    Measure("probe_color", "Probe: colour", "", **_SHARE),
    Measure("probe_shape", "Probe: shape", "", **_SHARE),
    Measure("probe_motion", "Probe: motion", "", **_SHARE),
    Measure("held_out_reward", "Held-out reward", "cosine, mean of image and video", formats.decimal),
    Measure("flicker", "Flicker", "excess over the real clip, 0 to 1", partial(formats.signed, digits=4), 4),
    Measure("spread", "Spread", "standard deviation of pixels, 0 to 1", formats.decimal),
    Measure("diversity", "Diversity", "RMS difference between seeds, 0 to 1", formats.decimal),
)
SCORES = {"quality": "VBench quality", "semantic": "VBench semantic", "total": "VBench total"}


def figure_of(tree: Tree, path: str) -> Any:
    """The value at a dotted path of a summary; ``None`` where the path ends early."""
    value: Any = tree
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def cell(tree: Tree, path: str, write: Format, detail: str = "", strong: bool = False) -> Cell:
    """The figure at ``path``, written by ``write``."""
    value = figure_of(tree, path)
    return Cell(write(value), detail if value is not None else "", path, value, strong)


def comparison(tree: Tree) -> list[Row]:
    """From teacher to ReNeg, with the real clips' ceiling and chance; one row per figure."""
    columns = [*(f"models.{name}" for name in MODELS), "real_clips", "chance"]
    rows = [Row(m.label, m.note, [_measured(tree, column, m) for column in columns]) for m in MEASURES]
    for score, label in SCORES.items():
        cells = [cell(tree, f"vbench.{name}.{score}", formats.percent) for name in (*MODELS, "real_clips")]
        rows.append(Row(label, "miniature scorers", [*cells, Cell(formats.DASH)]))
    counts = [cell(tree, f"{column}.n", formats.count) for column in columns[:-1]]
    return [*rows, Row("n", "prompts, one clip each", [*counts, Cell(formats.DASH)])]


def _measured(tree: Tree, column: str, measure: Measure) -> Cell:
    low, high = (figure_of(tree, f"{column}.ci") or {}).get(measure.name, (None, None))
    detail = formats.interval(low, high, measure.digits, measure.scale)
    if measure.name == "diversity" and (prompts := figure_of(tree, f"{column}.diversity_n")):
        detail = f"n = {formats.count(prompts)} prompts"
    return cell(tree, f"{column}.{measure.name}", measure.write, detail, strong=measure.name == "probe_all")


PAIRS = {
    "stage1-pruned": f"Stage 1 {formats.MINUS} pruned: what distillation regains",
    "stage2-stage1": f"Stage 2 {formats.MINUS} stage 1: what reward feedback adds",
    "reneg-teacher": f"ReNeg {formats.MINUS} empty negative prompt, same guidance",
    "reneg-handwritten": f"ReNeg {formats.MINUS} hand-written negative prompt, same guidance",
}
_COMPARED = {
    "held_out_reward": ("held-out reward", 4, 1.0),
    "held_out_image_reward": ("image reward", 4, 1.0),
    "held_out_video_reward": ("video reward", 4, 1.0),
    "probe_all": ("probe, all three right (points)", 1, 100.0),
    "flicker": ("flicker", 4, 1.0),
    "spread": ("spread", 4, 1.0),
}


def delta_seeds(tree: Tree) -> list[str]:
    """The sampling seeds of the paired comparisons."""
    for pair in (tree["deltas"] or {}).values():
        for delta in pair.values():
            return list(delta["seeds"])
    return []


def deltas(tree: Tree) -> list[Row]:
    """Paired differences: pooled, then by seed. A figure whose interval excludes zero is set in bold."""
    rows = []
    for pair, title in PAIRS.items():
        found = (tree["deltas"] or {}).get(pair)
        if not found:
            continue
        rows.append(Row(title, head=True))
        for name, (label, digits, scale) in _COMPARED.items():
            if name in found:
                paths = [f"deltas.{pair}.{name}", *(f"deltas.{pair}.{name}.seeds.{s}" for s in delta_seeds(tree))]
                rows.append(Row(label, cells=[_delta(tree, path, digits, scale) for path in paths]))
    return rows


def _delta(tree: Tree, path: str, digits: int, scale: float) -> Cell:
    delta = figure_of(tree, path) or {}
    value = delta.get("value")
    write = formats.signed(None if value is None else scale * value, digits)
    between = formats.interval(delta.get("low"), delta.get("high"), digits, scale)
    detail = f"{between}, n = {delta['n']}" if value is not None else ""
    return Cell(write, detail, f"{path}.value", value, strong=bool(delta.get("excludes_zero")))


def vbench_dimensions(tree: Tree, scores: Mapping[str, Any], names: Sequence[str]) -> list[Row]:
    """Raw scores of the 16 dimensions with interval and n."""
    rows = []
    for dimension in DIMENSIONS if names else ():
        cells = []
        for name in names:
            estimate = interval_of(scores, name, dimension)
            detail = formats.interval(estimate.get("low"), estimate.get("high"))
            n = f", n = {estimate['n']}" if estimate else ""
            cells.append(cell(tree, f"vbench.{name}.dimensions.{dimension}", formats.decimal, detail + n))
        rows.append(Row(dimension.replace("_", " "), cells=cells))
    return rows


def interval_of(scores: Mapping[str, Any], model: str, dimension: str) -> Mapping[str, Any]:
    """Interval and n of one dimension of one model's result, empty where there is none."""
    header = scores.get(model, {}).get("header", {})
    found: Mapping[str, Any] = header.get("confidence_intervals", {}).get(dimension, {})
    return found


_COMPONENTS = {
    "text_encoder": "text encoder",
    "denoiser": "denoiser",
    "vae": "VAE decoder",
    "other": "sampler, tokeniser, copies",
}


def latency(summary: Mapping[str, Any] | None) -> list[Row]:
    """Per model and batch: median, p95, n and warm-up, end to end; then per component."""
    rows = []
    for name, model in (summary or {}).get("models", {}).items():
        params = sum(model["params"].values())
        guidance = f", guidance {model['guidance_scale']:g}" if model.get("guidance_scale") else ""
        about = f"{model['steps']} steps{guidance}, {params / 1e6:.2f} M parameters in all"
        rows.append(Row(f"{LABELS.get(name, name)}: {about}", head=True))
        for batch, timed in model["batches"].items():
            cells = [Cell(formats.seconds(timed["median_s"])), Cell(formats.seconds(timed["p95_s"]))]
            cells += [Cell(""), Cell(""), Cell(f"{timed['n']} + {timed['warmup']}")]
            rows.append(Row("end to end", f"batch {batch}", cells))
        for part, timed in model["components"].items():
            cells = [Cell(formats.seconds(timed["median_s"])), Cell("")]
            cells += [Cell(formats.percent(timed["share"]), bar=timed["share"])]
            cells += [Cell(formats.count(timed["calls"] or None)), Cell(f"{timed['n']:.0f}")]
            rows.append(Row(_COMPONENTS.get(part, part), "batch 1", cells))
    return rows


def stages(metrics: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> list[Row]:
    """Wall time and peak memory of every stage that ran."""
    longest = max((figures["wall_s"] for figures in metrics.values()), default=1.0)
    rows = []
    for name in names:
        figures = metrics.get(name, {})
        wall, memory = figures.get("wall_s"), figures.get("peak_memory_bytes")
        share = None if wall is None else wall / longest
        rows.append(Row(name, cells=[Cell(formats.seconds(wall), bar=share), Cell(formats.bytes_(memory))]))
    return rows
