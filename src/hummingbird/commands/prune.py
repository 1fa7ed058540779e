"""``hummingbird prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hummingbird.commands.terminal import TerminalLog
from hummingbird.errors import UserError

app = typer.Typer(invoke_without_command=True)


@app.callback()
def prune(
    ctx: typer.Context,
    plan: Annotated[
        str | None, typer.Option(help="0.9b, 0.7b (Hummingbird's students of VideoCrafter2), or a plan's file.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of a model, or a public checkpoint of VideoCrafter2.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the student.")] = None,
    guidance_dim: Annotated[int, typer.Option(min=0, help="Width of its guidance embedding; 0 = none.")] = 256,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be kept.")] = False,
) -> None:
    """Make a student of some of a teacher's blocks, or show its table: kept, dropped, parameters, operations."""
    if ctx.invoked_subcommand is not None:
        if plan is not None or teacher is not None or out is not None or dry_run:
            name = ctx.invoked_subcommand
            raise UserError(f"options before {name} are not its own", f"write them after it: hummingbird prune {name}")
    elif plan is None:
        raise UserError("no plan is given", "give --plan 0.7b, or see which blocks matter: hummingbird prune study")
    elif dry_run:
        from hummingbird.prune.student import show_plan

        typer.echo(show_plan(plan, teacher))
    elif teacher is None or out is None:
        raise UserError("a student needs a teacher and a place", "give --teacher and --out, or look first: --dry-run")
    else:
        from hummingbird.prune.student import write_student

        typer.echo(write_student(plan, teacher, out, guidance_dim))


@app.command("study")
def prune_study(
    teacher: Annotated[Path, typer.Option(help="Folder of a model, or a public checkpoint of VideoCrafter2.")] = Path(
        "artifacts/foundation"
    ),
    latents: Annotated[Path, typer.Option(help="Folder of latents that its VAE encoded.")] = Path("data/latents"),
    plan: Annotated[
        str, typer.Option(help="0.9b, 0.7b (for any number of levels), or a plan's file: marks what it drops.")
    ] = "0.7b",
    batches: Annotated[int, typer.Option(min=2, help="Batches that every change is measured on.")] = 16,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a batch.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of clips, noise, timesteps and guidance scales.")] = 1,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda (also ROCm), cuda:1, ...")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for importance.json, .csv and .png.")] = Path("reports/prune_study"),
) -> None:
    """Measure which blocks matter: the distillation loss of the teacher without each of them, before any training.

    A stopped study goes on where it was when it is started again.
    """
    from hummingbird.layout import Layout
    from hummingbird.params import load_params
    from hummingbird.prune.study import Request, study

    request = Request(teacher, latents, plan, batches, batch_size, seed, device, out)
    typer.echo(study(request, load_params(), Layout(), TerminalLog()))
    typer.echo(f"written to {out}: importance.json, importance.csv, importance.png")
