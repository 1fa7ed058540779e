"""What of a stage's outputs goes to MLflow, at the paths that they have in the project: figures, curves, a summary of
its clip table, some sample videos, and the weights that it trained."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hummingbird.layout import Layout
from hummingbird.ops import gates, launch, snapshot
from hummingbird.ops.recording import Recording

RECORDS = "reports/runs/"  # which run made what; written when the run has ended
SMALL = (".json", ".csv", ".svg")
SAMPLES = 3  # videos of a folder
WEIGHTS = (".safetensors", ".json")
NOT_TRAINED = ("text_encoder", "tokenizer", "vae")  # of a pipeline: the teacher's own, kept by stage foundation


def keep_outputs(run: Recording, layout: Layout, stage: str) -> None:
    """Add to ``run`` what ``stage`` has made."""
    entry = snapshot.declared(layout.root, stage)
    paths = [path for kind in ("outs", "metrics", "plots") for path in snapshot.paths(entry.get(kind, []))]
    for path in paths:
        if path.startswith(RECORDS):
            continue
        for file in _worth_keeping(path, layout.root / path, stage):
            run.keep(file, file.relative_to(layout.root).as_posix())
    if stage in gates.WRITES and (table := gates.table_of(stage, layout)).is_file():
        where = table.relative_to(layout.root).with_suffix(".summary.json").as_posix()
        try:
            with tempfile.TemporaryDirectory() as folder:
                summary = Path(folder) / "summary.json"
                summary.write_text(json.dumps(summarise(table), indent=2))
                run.keep(summary, where)
        except OSError as error:  # what the stage made is whole
            run.drop(where, error)


def _worth_keeping(path: str, out: Path, stage: str) -> Iterator[Path]:
    files = sorted(path for path in out.rglob("*") if path.is_file()) if out.is_dir() else [out]
    if path.startswith("artifacts/") and stage in launch.TRAINING:
        yield from (file for file in files if file.suffix in WEIGHTS and file.parent.name not in NOT_TRAINED)
    elif path.startswith("reports/"):
        yield from (file for file in files if file.suffix in SMALL)
        for folder in sorted({file.parent for file in files}):
            yield from sorted(folder.glob("*.mp4"))[:SAMPLES]


def summarise(table: Path) -> dict[str, Any]:
    """Rows, columns, and how many clips were kept or dropped for which reason. The rows themselves are DVC's."""
    import polars as pl

    rows = pl.read_parquet(table)
    summary: dict[str, Any] = {"rows": len(rows), "columns": {name: str(kind) for name, kind in rows.schema.items()}}
    if {"kept", "reason"} <= set(rows.columns):
        from hummingbird.data.clips import reason_counts

        summary |= {"kept": int(rows["kept"].sum()), "dropped": reason_counts(rows)}
    return summary
