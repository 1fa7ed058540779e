"""``hummingbird miniature``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hummingbird.commands.terminal import TerminalLog

app = typer.Typer(help="The small models that the default run starts from.", no_args_is_help=True)


@app.command("train")
def miniature_train(
    only: Annotated[str | None, typer.Option(help="Train just this model.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("assets/miniature"),
    budget: Annotated[float, typer.Option(min=0.0001, help="Multiplies every number of steps; 1 = as shipped.")] = 1.0,
) -> None:
    """Train the miniature's models from nothing: teacher, VAE, text encoder, rewards and helpers."""
    from hummingbird.miniature.train import train_all

    for name, figures in train_all(out, only=[only] if only else None, budget=budget, log=TerminalLog()).items():
        typer.echo(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in figures.items())}")
