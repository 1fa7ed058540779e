"""``hummingbird params``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The parameter set, params.yaml.", no_args_is_help=True)


@app.command("check")
def params_check(
    path: Annotated[Path, typer.Argument(help="The file to check.")] = Path("params.yaml"),
) -> None:
    """Check a parameter file: unknown, misspelt or missing names, wrong types, values out of range."""
    from hummingbird.params import load_params

    load_params(path)
    typer.echo(f"{path} is a valid, complete parameter set")
