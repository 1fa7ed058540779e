"""What the Prefect UI shows of a run beside its log: what each stage measured, its contact sheet, its MLflow run, the
clips that each filter left, a failed gate with what it found, and whether the lineage holds."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.links import run_link
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.ops import gates

FUNNEL = ("download", "vqa_filter", "motion_filter")  # the stages that say how many clips they keep
SHEET_SIDE = 1200  # pixels of the longer side; the UI shows it smaller, and the server's database keeps it


def key(kind: str, stage: str) -> str:
    """Name of an artifact; Prefect takes small letters, digits and dashes."""
    return f"{kind}-{stage}".replace("_", "-")


def show_run(root: Path, run_id: str | None, name: str, what: str) -> None:
    """A link to an MLflow run, or how to see it where MLflow has no server."""
    link = run_link(root, run_id)
    if link and link.startswith("http"):
        create_link_artifact(link, link_text=f"{what} in MLflow", key=key("mlflow", name), description=what)
    else:
        create_markdown_artifact(link or "MLflow did not answer; its run is kept until it does.", key("mlflow", name))


def show_stage(layout: Layout, stage: str) -> None:
    """What a stage that ran has measured, and its newest contact sheet."""
    measured = read_json(layout.metrics(stage))
    if measured:
        rows: list[dict[str, Any]] = [{"metric": name, "value": _short(value)} for name, value in measured.items()]
        create_table_artifact(rows, key=key("metrics", stage), description=f"What {stage} measured")
    sheets = sorted(layout.sheets(stage).glob("*.png"), key=lambda path: (path.stat().st_mtime, path.name))
    if sheets:
        image = _as_url(sheets[-1])
        create_image_artifact(image, key=key("sheet", stage), description=f"{stage}: {sheets[-1].stem}")


def show_funnel(layout: Layout) -> None:
    """How many clips each stage of the curation kept, if it has run."""
    found = {stage: read_json(layout.metrics(stage)) for stage in FUNNEL}
    rows = [
        f"| {stage} | {numbers['kept']:,.0f} | {numbers['kept'] / max(1.0, first):.1%} |"
        for first in [found["download"].get("clips", 0.0)]
        for stage, numbers in found.items()
        if "kept" in numbers
    ]
    if rows:
        clips = f"{found['download'].get('clips', 0):,.0f} clips came in.\n\n"
        table = "\n".join(["| stage | kept | of all |", "|---|---:|---:|", *rows])
        create_markdown_artifact(clips + table, "funnel", description="Clips that curation kept")


def show_failed_gate(layout: Layout, stage: str, since: float, run_link: str | None) -> str | None:
    """What a gate of ``stage`` found wrong after ``since`` (seconds of the epoch); None if none of its gates failed.

    Returns:
        One line about it.
    """
    for table in (gates.READS.get(stage), stage if stage in gates.WRITES else None):
        page = layout.reports / gates.SITE / f"{table}.html"
        found = page.with_suffix(".json")
        if table is None or not found.is_file() or found.stat().st_mtime < since:
            continue
        checked = read_json(found)
        failed = [check for check in checked["checks"] if not check["met"]]
        if failed:
            create_markdown_artifact(_gate(checked, failed, page, run_link), key("gate", stage), f"Gate of {table}")
            return f"{checked['path']} breaks its contract: {len(failed)} of {len(checked['checks'])} expectations"
    return None


def _gate(checked: Mapping[str, Any], failed: Sequence[Mapping[str, Any]], page: Path, link: str | None) -> str:
    rows = [f"| {check['column']} | {_cell(check['text'])} | {_cell(check['found'])} |" for check in failed]
    head = f"**`{checked['path']}` breaks its contract** ({checked['rows']:,} rows, {checked['time']})."
    table = "\n".join(["| column | expected | found |", "|---|---|---|", *rows])
    known = link is not None and link.startswith(
        "http"
    )  # the stage has sent the page; no browser opens files of others
    name = f"[{page.name}]({link}/artifacts/{page.name}), with [its MLflow run]({link})" if known else page.name
    docs = f"Data docs: {name}; on the machine of the run `{page.absolute()}`."
    return "\n\n".join(filter(None, [head, table, _cell(checked["remark"]), docs]))


def show_lineage(changed: Sequence[str], commit: str) -> None:
    """Whether the commit of the run says all about its code and parameters."""
    if not changed:
        create_markdown_artifact(f"The run is on commit `{commit}`, nothing else.", "lineage", "Code and parameters")
        return
    listed = "\n".join(f"- `{path}`" for path in changed[:50])
    more = f"\n- and {len(changed) - 50} more" if len(changed) > 50 else ""
    create_markdown_artifact(
        f"**These files differ from commit `{commit}`**, so the commit alone does not say what made the "
        f"results. Commit them first, or run with `clean`.\n\n{listed}{more}",
        "lineage",
        "Code and parameters",
    )


def attempt(show: Callable[[], object], say: Callable[[str], None]) -> None:
    """An artifact that cannot be made is no reason to fail a run: ``say`` why and go on."""
    try:
        show()
    except Exception as error:  # of Prefect, of its client, of a damaged file: whatever it is, the stage is done
        say(f"the Prefect UI will lack an artifact: {type(error).__name__}: {error}")


def _as_url(sheet: Path) -> str:
    """An image as a data URL, small enough for a database. No file server is needed to see it."""
    from PIL import Image

    with Image.open(sheet) as image:
        small = image.convert("RGB")
        small.thumbnail((SHEET_SIDE, SHEET_SIDE))
        data = io.BytesIO()
        small.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.6g}"


def _cell(text: str) -> str:
    """Text that stays text within a Markdown table."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
