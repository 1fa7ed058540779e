"""The tables of docs/ablations.md, written between two markers from the results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.ablation_cells import TABLES
from hummingbird.errors import UserError
from hummingbird.files import replacing

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
COLUMNS = (("all right (probe)", "probe_all", 100, "%"), ("held-out reward", "held_out_reward", 1, ""))


def write_tables(path: Path, results: Mapping[str, Any]) -> None:
    """Replace what lies between the markers in the Markdown file ``path``.

    Raises:
        UserError: the file or its markers are missing.
    """
    text = path.read_text() if path.is_file() else ""
    if BEGIN not in text or END not in text:
        raise UserError(f"{path} has no place for the tables", f"put the lines {BEGIN} and {END} into it")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    with replacing(path) as part:
        part.write_text(f"{before}{BEGIN}\n{as_markdown(results)}\n{END}{after}")


def as_markdown(results: Mapping[str, Any]) -> str:
    """All tables of which at least one row was measured."""
    header, cells = results["header"], results["cells"]
    seeds = ", ".join(str(seed) for seed in header["seeds"])
    lines = [
        f"Training seeds {seeds}; {header['steps_scale']:g} times the steps of `params.yaml`; {header['prompts']} "
        f"held-out prompts, of the negative embeddings {header['guided_prompts']} in {header['guided_steps']} DDIM "
        f"steps. Mean over seeds, and the range from the lowest to the highest; commit "
        f"{header['conditions']['commit'][:7]}.",
    ]
    for title, rows in TABLES.items():
        measured = [(label, cells[name]) for label, name in rows if cells.get(name)]
        if measured:
            lines += ["", f"**{title}**", "", f"| | {' | '.join(name for name, *_ in COLUMNS)} |", "|---|---|---|"]
            lines += [f"| {label} | {' | '.join(_columns(by_seed))} |" for label, by_seed in measured]
    return "\n".join(lines)


def _columns(by_seed: Mapping[str, Any]) -> list[str]:
    return [_spread([run["figures"][figure] * factor for run in by_seed.values()], unit)
            for _, figure, factor, unit in COLUMNS]  # fmt: skip


def _spread(values: list[float], unit: str) -> str:
    digits = 1 if unit else 3
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.fmean(values), min(values), max(values)))
    space = f" {unit}" if unit else ""
    return f"{mean}{space} ({low} to {high})" if len(values) > 1 else f"{mean}{space}"
