"""What is left of a run: a table for the terminal, a page, and a record in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.report.curation import render_curation
from evaluation.report.filters import funnel
from evaluation.report.funnel import funnel_file
from evaluation.report.inputs import read_inputs
from evaluation.report.lineage import read_lineage
from hummingbird.curate.setting import Setting
from hummingbird.curate.steps import Step
from hummingbird.files import replacing
from hummingbird.runlog import RunLog, Verdicts


def write_page(setting: Setting, log: RunLog) -> None:
    """Write ``reports/curation.html`` and ``reports/funnel.svg``, and hand them, the clip table and the parameters to
    the log.

    Raises:
        UserError: an input cannot be read, or the disk cannot be written to.
    """
    layout = setting.layout
    inputs = read_inputs(layout)
    pages = {layout.reports / "curation.html": render_curation(inputs, layout, setting.params, read_lineage(Path()))}
    if (crawl := funnel(inputs.tables)) is not None:
        pages[layout.reports / "funnel.svg"] = funnel_file(crawl)
    for path, text in pages.items():
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    for path in (*pages, layout.clip_table("recaption"), layout.root / "params.yaml"):
        log.artifact(path)


def print_summary(console: Console, setting: Setting, steps: Sequence[Step]) -> None:
    """One line for each step: clips in and out, why some went, time and speed; then where things are."""
    table = Table(title=f"{setting.params.download.source} -> {setting.layout.root}", title_justify="left")
    for name, justify in (("step", "left"), ("in", "right"), ("out", "right"), ("dropped", "left"), ("time", "right"),
                          ("clips/s", "right")):  # fmt: skip
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for step in steps:
        came, left, why = _flow(step.measured)
        rate = f"{came / step.seconds:.1f}" if step.seconds else ""
        table.add_row(step.name, f"{came:,}", f"{left:,}", escape(why), duration(step.seconds), rate)
    console.print(table)
    _print_places(console, setting, steps[-1])


def _flow(measured: Mapping[str, float]) -> tuple[int, int, str]:
    """Clips that a step got, that it passed on, and what became of the others, from what it measured."""
    came = int(measured["clips"])
    left = int(measured.get("kept", came))
    captions = _counted(measured, "failed_")
    if captions:
        return came, left, f"{captions.total()} captions stay as they were: {captions}"
    return came, left, str(_counted(measured, "dropped_") or _counted(measured, "unreadable"))


def _counted(measured: Mapping[str, float], prefix: str) -> Verdicts:
    """The figures that are called ``prefix`` and a reason, but for shares and what did not occur."""
    names = [name for name in measured if name.startswith(prefix) and not name.endswith("_share")]
    return Verdicts({name.removeprefix(prefix) or prefix: int(measured[name]) for name in names if measured[name]})


def _print_places(console: Console, setting: Setting, encode: Step) -> None:
    layout = setting.layout
    figures = encode.measured
    size = f"{figures['clips']:,.0f} clips, {figures['frames']:,.0f} frames, {figures['bytes'] / 1e6:.1f} MB"
    places = {
        "training set": f"{layout.latents} ({size})",
        "every clip": f"{layout.clip_table('recaption')}",
        "to look at": f"{layout.reports / 'curation.html'}",
        "one clip": f"hummingbird curate --out {layout.root} --explain CLIP_ID",
    }
    for name, place in places.items():
        console.print(f"{name:<13} {escape(place)}", highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """``3.2 s``, ``2 min 05 s`` or ``1 h 02 min``."""
    if seconds >= 3600:
        return f"{seconds // 3600:,.0f} h {seconds % 3600 // 60:02.0f} min"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
