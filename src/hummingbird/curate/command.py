"""The command: curate, try out, or explain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from hummingbird.curate.display import Display
from hummingbird.curate.explanation import explain
from hummingbird.curate.report import print_summary, write_page
from hummingbird.curate.setting import STEPS, Request, Setting, folder_of, setting_of
from hummingbird.curate.steps import alone, in_other_words, run_steps
from hummingbird.curate.trial import print_trial, try_out
from hummingbird.data.sources.registry import AnySource, open_source
from hummingbird.errors import UserError
from hummingbird.ops import tracking
from hummingbird.ops.inspector import Inspector


def curate(request: Request, console: Console) -> None:
    """Make a training set of a source; see :mod:`hummingbird.curate`.

    Raises:
        UserError: the source, a parameter or a model cannot be used, a step or a gate refuses, or the disk is full.
            What is finished stays, and the same command goes on from there.
    """
    setting, source = prepared(request, console)
    with alone(setting.layout), Inspector(setting.layout) as gate:
        setting.save()
        with ExitStack() as stack:
            with console.status("starting"):
                record = stack.enter_context(_recorded(setting))
                display = Display(record, console)  # loads libraries
            with display:
                steps = run_steps(setting, source, display, gate)
            write_page(setting, record)
        print_summary(console, setting, steps)


def dry_run(request: Request, console: Console) -> None:
    """Say what :func:`curate` would do, how long it would take and what space it would need.

    Raises:
        UserError: the source, a parameter or a model cannot be used, or a step refuses the rows that are tried.
    """
    setting, source = prepared(request, console)
    with console.status("trying some rows"):
        trial = try_out(setting, source)
    print_trial(console, setting, source, trial)


def explain_clip(request: Request, clip_id: str, console: Console) -> None:
    """Print the whole story of one clip of an earlier run.

    Raises:
        UserError: it is not to be found.
    """
    explain(folder_of(request), clip_id, console)


def prepared(request: Request, console: Console) -> tuple[Setting, AnySource]:
    """The setting and its source, opened; says what is about to be curated, and what was decided on the way."""
    setting = setting_of(request)
    setting.check_folder()
    if not setting.layout.foundation.exists():
        here = "" if Path("dvc.yaml").exists() else "go to the project folder, where dvc.yaml is, and there "
        raise UserError(f"there are no models at {setting.layout.foundation}", f"{here}make them: dvc repro foundation")
    with in_other_words("--source, --format, --set download.csv=FILE"), console.status("reading the source"):
        source = open_source(setting.params.download)
    rows = f"[bold]{len(source):,} rows[/] of {escape(setting.params.download.source)}"
    console.print(f"{rows} -> {setting.layout.root}", highlight=False, soft_wrap=True)
    for note in setting.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    return setting, source


@contextmanager
def _recorded(setting: Setting) -> Iterator[tracking.StageLog]:
    """The project's MLflow, in which the whole run is one."""
    params = setting.params
    sections = {name: getattr(params, name).model_dump(mode="json") for name in STEPS}
    name = f"curate {setting.layout.root.name}"
    with tracking.single_run(Path(), name, {"seed": params.seed, **sections}, {"stage": "curate"}) as log:
        yield log
