"""Stage ``report``: one page with everything that was measured, and the same figures for machines."""

from __future__ import annotations

import json

from evaluation.report.filters import funnel
from evaluation.report.funnel import funnel_file
from evaluation.report.inputs import read_inputs
from evaluation.report.lineage import read_lineage
from evaluation.report.page import render_page
from evaluation.report.summary import Tree, build_summary
from evaluation.report.tables import figure_of
from hummingbird.files import replacing
from hummingbird.layout import Layout
from hummingbird.params import Params
from hummingbird.runlog import RunLog

_HEADLINE = (
    "speedup_end_to_end",
    "models.teacher.probe_all",
    "models.stage1.probe_all",
    "models.stage2.probe_all",
    "deltas.stage2-stage1.held_out_reward.value",
    "deltas.reneg-teacher.held_out_reward.value",
    "vbench.stage2.total",
    "decoder.psnr_db.value",
    "decoder.ratio.end_to_end_s",
    "filters.all.precision",
    "filters.all.recall",
    "captions.facts_before",
    "captions.facts_after",
    "run.wall_s",
)


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``reports/summary.json``, ``reports/index.html`` and ``reports/funnel.svg`` (what became of the clips);
    stages that have not run leave gaps with a note.

    Raises:
        UserError: an input cannot be read, or the disk cannot be written to.
    """
    inputs = read_inputs(layout)
    lineage = read_lineage(layout.root)
    summary = build_summary(inputs, lineage, params.seed)
    page = render_page(summary, inputs, layout, params, lineage)
    with replacing(layout.reports / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    with replacing(layout.reports / "index.html") as part:
        part.write_text(page, encoding="utf-8")
    log.artifact(layout.reports / "summary.json")
    log.artifact(layout.reports / "index.html")
    if (found := funnel(inputs.tables)) is not None:
        with replacing(layout.reports / "funnel.svg") as part:
            part.write_text(funnel_file(found), encoding="utf-8")
        log.artifact(layout.reports / "funnel.svg")
    return headline(summary) | {"page_bytes": float(len(page.encode()))}


def headline(summary: Tree) -> dict[str, float]:
    """The figures that tell runs apart, by their names in the summary; missing ones are left out."""
    found = {name: figure_of(summary, name) for name in _HEADLINE}
    return {name: float(value) for name, value in found.items() if value is not None}
