"""Puts the page together: figures, tables, charts and media into one HTML file that needs nothing else."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from evaluation.report import charts, decoder_tables, filters, formats, media, prose, tables
from evaluation.report.captions import examples, judge_captions
from evaluation.report.funnel import funnel_chart
from evaluation.report.inputs import STAGES, Inputs
from evaluation.report.lineage import Lineage
from evaluation.report.summary import MODELS, Tree, gaps
from evaluation.report.templates import render
from evaluation.vbench.protocol import DIMENSIONS
from hummingbird.layout import Layout
from hummingbird.params import Params, dump_params

SMOOTHING = 25  # steps in the moving average of a curve
CAPTIONS = 9  # examples of rewritten captions
_ROWS = ("real_clips", *MODELS)
_CURVES = {  # axis -> column -> (label, colour; none = that of the stage)
    "loss": {"loss": ("loss", "")},
    "reward (cosine)": {"image_reward": ("image-text", "image"), "video_reward": ("video-text", "video")},
    "consistency loss": {"consistency": ("consistency", "")},
    "PSNR (dB)": {"psnr_db": ("PSNR", "")},
}
_PHASES = {"distillation": "1a, guided output of the teacher", "consistency": "1b, latent consistency"}
_STAGES = {
    "decoder": "Light decoder",
    "stage1": "Stage 1",
    "stage2": "Stage 2, mixed reward feedback",
    "reneg": "ReNeg, negative embedding",
}


def render_page(tree: Tree, inputs: Inputs, layout: Layout, params: Params, lineage: Lineage) -> str:
    """The whole page as HTML."""
    device = (inputs.latency or {}).get("conditions", {}).get("device")
    return render(
        "page.html",
        tree=tree,
        lineage=lineage,
        format=formats,
        gaps=gaps(inputs),
        params_text=dump_params(params),
        result=prose.result(tree, device),
        tiles=prose.tiles(tree),
        labels=tables.LABELS,
        header=(inputs.vbench or {}).get("header", {}),
        **_comparison(tree),
        videos=media.video_table(layout, inputs.vbench),
        video_columns=list(media.COLUMNS.values()),
        curves=_curves(inputs, layout),
        smoothing=SMOOTHING,
        **_filters(inputs, layout),
        captions=_captions(inputs),
        **_vbench(tree, inputs),
        fidelity=decoder_tables.fidelity(tree),
        decoder_cost=decoder_tables.cost(tree),
        decoder_columns=decoder_tables.COLUMNS,
        params_decoder=params.decoder,
        timed=inputs.latency,
        latency=tables.latency(inputs.latency),
        stages=tables.stages(inputs.stages, STAGES),
    )


def _comparison(tree: Tree) -> dict[str, Any]:
    return {
        "comparison": tables.comparison(tree),
        "comparison_columns": [tables.LABELS[name] for name in (*MODELS, "real_clips", "chance")],
        "probe_chart": _probe_chart(tree),
        "deltas": tables.deltas(tree),
        "delta_columns": ["all seeds", *(f"seed {seed}" for seed in tables.delta_seeds(tree))],
    }


def _probe_chart(tree: Tree) -> Markup | None:
    bars = []
    for name in _ROWS:
        figures = tree["models"].get(name) or tree["real_clips"]
        if figures["probe_all"] is None:
            continue
        low, high = (100 * end for end in figures["ci"]["probe_all"])
        text = formats.percent(figures["probe_all"])
        bars.append(charts.Bar(tables.LABELS[name], 100 * figures["probe_all"], text, name, low, high))
    if not bars:
        return None
    chance = tree["chance"]["probe_all"]
    title = "Share of prompts with colour, shape and motion right, by model"
    return charts.bar_chart(title, bars, "prompts with all three right (%)", 100.0, 100 * chance)


def _curves(inputs: Inputs, layout: Layout) -> list[dict[str, Any]]:
    """Per training stage: its charts (one per series, and per phase where it has several) and samples."""
    found = []
    for stage, table in inputs.curves.items():
        phases = table.partition_by("phase", as_dict=True, maintain_order=True) if "phase" in table.columns else {}
        parts = {_PHASES.get(str(name), str(name)): part for (name,), part in phases.items()} or {"": table}
        drawn = []
        for phase, part in parts.items():
            for axis, columns in _CURVES.items():
                if lines := _lines(part, columns, stage):
                    title = f"{_STAGES[stage]} {phase}: {axis} by step"
                    drawn.append({"title": phase, "svg": charts.line_chart(title, lines, axis, SMOOTHING)})
        found.append({"title": _STAGES[stage], "charts": drawn, "sheets": media.sample_sheets(layout, stage)})
    return found


def _lines(table: pl.DataFrame, columns: dict[str, tuple[str, str]], stage: str) -> list[charts.Line]:
    lines = []
    for column, (label, color) in columns.items():
        if column in table.columns:
            rows = table.drop_nulls(column)
            lines.append(charts.Line(label, color or stage, rows["step"].to_list(), rows[column].to_list()))
    return [line for line in lines if line.steps]


def _filters(inputs: Inputs, layout: Layout) -> dict[str, Any]:
    funnel = filters.funnel(inputs.tables)
    judged = inputs.truth is not None and inputs.has_truth and {"download", "vqa_filter"} <= inputs.tables.keys()
    return {
        "funnel_chart": funnel_chart(funnel) if funnel else None,
        "confusion": filters.confusion(inputs.tables, inputs.truth) if judged and inputs.truth is not None else None,
        "sheets_by_filter": media.filter_sheets(layout, funnel),
    }


def _captions(inputs: Inputs) -> list[dict[str, Any]]:
    if "recaption" not in inputs.tables or inputs.truth is None or not inputs.has_truth:
        return []
    return examples(judge_captions(inputs.tables["recaption"], inputs.truth), CAPTIONS).to_dicts()


def _vbench(tree: Tree, inputs: Inputs) -> dict[str, Any]:
    names = [name for name in _ROWS if tree["vbench"][name]["dimensions"]]
    rows = []
    for dimension in DIMENSIONS if names else ():
        dots = []
        for name in names:
            estimate = tables.interval_of(inputs.scores, name, dimension)
            value = tree["vbench"][name]["dimensions"][dimension]
            dots.append(charts.Dot(value, estimate.get("low"), estimate.get("high")))
        rows.append((dimension.replace("_", " "), dots))
    series = [(tables.LABELS[name], name) for name in names]
    title = "Raw score of every model in the 16 VBench dimensions, with 95 % intervals"
    return {
        "vbench_chart": charts.dot_plot(title, rows, series) if rows else None,
        "vbench_columns": [tables.LABELS[name] for name in names],
        "vbench_rows": tables.vbench_dimensions(tree, inputs.scores, names),
    }
