"""``--dry-run``: what a run would do, and how long and large it would be, extrapolated from a trial of a few rows."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hummingbird.curate.display import Display
from hummingbird.curate.report import duration
from hummingbird.curate.setting import Setting
from hummingbird.curate.steps import Step, run_steps
from hummingbird.data.sources.registry import AnySource
from hummingbird.data.sources.sample import sample
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.runlog import SilentLog
from hummingbird.workers import available_cores

ROWS = 16
_WARM_UP = 2  # rows: models and libraries load with the first
_KINDS = {"fetched videos": ".work/download/fetched", "shards": "data/raw", "scores and strips": "data/measure",
          "latents": "data/latents"}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """What came of ``rows`` rows: the steps, and bytes on the disk by kind."""

    rows: int
    steps: list[Step]
    bytes: dict[str, int]


def try_out(setting: Setting, source: AnySource, rows: int = ROWS) -> Trial:
    """Take ``rows`` rows, spread over the source, through all steps in a scratch folder that is deleted afterwards.

    Raises:
        UserError: a step refuses.
    """
    beside = _existing(setting.layout.root)  # where the result is to go, there is room or there is not
    with (
        tempfile.TemporaryDirectory(prefix=".dry-run-", dir=beside) as scratch,
        Display(SilentLog(), Console(quiet=True)) as display,
    ):
        layout = Layout(Path(scratch) / "warm-up", setting.layout.models)
        with suppress(UserError):  # two rows may well be two bad ones
            run_steps(replace(setting, layout=layout), sample(source, _WARM_UP), display, None)
        layout = Layout(Path(scratch) / "trial", setting.layout.models)
        chosen = sample(source, rows)
        try:
            steps = run_steps(replace(setting, layout=layout), chosen, display, None)
        except UserError as error:
            raise UserError(f"of {len(chosen)} rows that were tried: {error.problem}", error.next_step) from error
        sizes = {kind: size_of(layout.root / folder) for kind, folder in _KINDS.items()}
    return Trial(len(chosen), steps, sizes)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def print_trial(console: Console, setting: Setting, source: AnySource, trial: Trial) -> None:
    """Two tables, of time and of space, for the whole source."""
    factor = len(source) / trial.rows
    console.print(
        f"Tried just now on {trial.rows} rows, spread over the source, by one process in a scratch folder; "
        f"times {factor:,.4g} for all {len(source):,}.", highlight=False
    )  # fmt: skip
    time = Table("step", "what it does", "trial", "all rows")
    for step in trial.steps:
        time.add_row(
            step.name, escape(_what(setting, step.name)), duration(step.seconds), duration(step.seconds * factor)
        )
    whole = sum(step.seconds for step in trial.steps)
    time.add_row("[bold]together", "", duration(whole), f"[bold]{duration(whole * factor)}")
    console.print(time)
    console.print(f"download and measure spread over processes; this machine has {available_cores()} cores.")
    _print_space(console, setting, trial, factor)


def _what(setting: Setting, name: str) -> str:
    params = setting.params
    kept = {
        "download": f"at most {params.download.fetch.connections} videos at once, {params.download.fetch.per_host} a "
        f"server; cut, mend, {params.download.clips_per_shard} rows a shard",
        "measure": f"one decoding: signals, DOVER, {params.measure.flow} flow",
        "vqa_filter": _bounds(params.vqa_filter.model_dump()),
        "motion_filter": _bounds(params.motion_filter.model_dump()),
        "recaption": f"{params.recaption.backend}: {params.recaption.model or 'artifacts/foundation/recaptioner'}",
        "encode": f"latents of {params.encode.width} x {params.encode.height} frames",
    }
    return kept[name]


def _bounds(section: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in section.items() if value)


def _print_space(console: Console, setting: Setting, trial: Trial, factor: float) -> None:
    space = Table("on the disk", "trial", "all rows")
    for kind, size in trial.bytes.items():
        space.add_row(kind, _size(size), _size(size * factor))
    needed = sum(trial.bytes.values()) * factor
    free = shutil.disk_usage(_existing(setting.layout.root)).free
    space.add_row("[bold]together", _size(sum(trial.bytes.values())), f"[bold]{_size(needed)}")
    console.print(space)
    verdict = "enough" if needed < free else "[bold red]not enough[/]"
    console.print(
        f"free at {setting.layout.root}: {_size(free)}, {verdict}. Nothing was written there.", highlight=False
    )


def _existing(path: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
