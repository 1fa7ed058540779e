"""The command line: ``hummingbird``, with what its commands have in common and those that belong to no group.

Commands import what they need when they run, so that ``--help`` is instant.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hummingbird import telemetry
from hummingbird.commands import (
    checkpoints,
    clips,
    flow,
    generate,
    lineage,
    miniature,
    params,
    parity,
    profile,
    prune,
    registry,
    services,
    storage,
    track,
)
from hummingbird.errors import UserError

HELP = (
    "Distil a text-to-video model to four steps, from raw clips to a scored and timed student.\n\n"
    "Run from the project folder. [bold]make run[/] or [bold]hummingbird flow run[/] makes everything up to "
    'reports/index.html; [bold]hummingbird generate "a large plain red circle moves slowly left on sea"[/] then shows '
    "what was learned. A mistake that you can put right is printed with the next step to take (exit code 2)."
)

USER_ERROR, INTERRUPTED = 2, 130


class OtherSettings(StrEnum):
    """What becomes of an unfinished training with other settings."""

    RESTART = "restart"
    CONTINUE = "continue"


class Commands(TyperGroup):
    """The commands, with errors that a user can act on printed in place of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["command"] = shlex.join(["hummingbird", *args])
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        telemetry.switch_off()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.secho(f"stopped. To resume: {ctx.meta['command']}", fg="yellow", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (UserError, OSError) as error:
            known = error if isinstance(error, UserError) else explain_os_error(error)
            if known is None or ctx.params.get("debug"):
                raise
            typer.secho(f"error: {known.problem}", fg="red", err=True)
            typer.secho(f"next:  {known.next_step}", err=True)
            raise typer.Exit(USER_ERROR) from None


def explain_os_error(error: OSError) -> UserError | None:
    """A full disk or a missing right in words; None for any other error."""
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(Path.cwd()).free / 1e9
        return UserError(
            f"no space left to write {where} ({free:.2f} GB free here)",
            "free some disk space (dvc gc --workspace removes cached results of older runs), then run the same again",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"no permission to use {where}: {error.strerror}", f"see: ls -ld {shlex.quote(str(where))}")
    return None


app = typer.Typer(
    cls=Commands, help=HELP, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_show_locals=False
)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="HUMMINGBIRD_DEBUG", help="Show the traceback of every error.")
    ] = False,
) -> None:
    """Options of every command; ``debug`` is read by :class:`Commands`."""


def stage(
    name: Annotated[str, typer.Argument(help="Name of the stage, as in dvc.yaml.")],
    other_settings: Annotated[
        OtherSettings | None,
        typer.Option(
            envvar="HUMMINGBIRD_OTHER_SETTINGS",
            help="restart: delete unfinished trainings of the stage; continue: go on from one with other settings.",
        ),
    ] = None,
) -> None:
    """Run one stage in this process, as `dvc repro` does, with gates and tracking, even if it is up to date."""
    from hummingbird.ops import launch
    from hummingbird.ops.runner import run_stage

    if other_settings is not None:
        os.environ["HUMMINGBIRD_OTHER_SETTINGS"] = other_settings.value
    if launch.is_follower():
        return launch.follow(name)
    launch.start_together(name, sys.argv[1:])
    for metric, value in run_stage(name, Path()).items():
        typer.echo(f"{name}.{metric} = {value:.6g}")


def doctor() -> None:
    """Check this machine: versions, torch, memory, disk, DVC, MLflow, Prefect, services, models, telemetry."""
    from hummingbird.doctor import examine, show

    findings = examine(Path())
    show(findings)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


PANELS: dict[str, tuple[Callable[..., None] | ModuleType, ...]] = {  # a module is a group of commands
    "Run the pipeline": (stage, doctor, flow, params, profile),
    "Make and trace videos": (generate.generate, lineage.lineage, clips.curate, clips.finetune),
    "Models of a team": (registry.register, registry.promote, registry.rollback, registry),
    "The paper's size": (parity.parity, checkpoints, miniature, prune),
    "Servers and storage": (services, storage, track),
}
for panel, entries in PANELS.items():
    for entry in entries:
        if isinstance(entry, ModuleType):
            app.add_typer(entry.app, name=entry.__name__.rpartition(".")[-1], rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(entry)
