"""``hummingbird parity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def parity(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of golden files, X.json and X.safetensors.")],
    device: Annotated[str, typer.Option(help="Where to compute networks: cpu, cuda (also ROCm), cuda:1, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16; the halves have wider tolerances.")] = (
        "float32"
    ),
    attention: Annotated[
        str, typer.Option(help="default, plain, fused; or one kernel: math, flash, efficient, cudnn.")
    ] = "default",
) -> None:
    """Compare our networks with golden data of the original ones; exit code 1 if anything is out of tolerance.

    A file of unknown kind is shown as not run and does not count as passed.
    """
    from hummingbird.parity import run
    from hummingbird.parity.backends import make_setup

    setup = make_setup(device, dtype, attention)
    found = run.run_folder(folder, setup)
    typer.echo(run.header())
    rows = []
    for row in found:
        rows.append(row)
        typer.secho(run.line(row), fg={"ok": None, "not run": "yellow"}.get(row.verdict, "red"))
    typer.echo(run.summary(rows))
    if not run.all_passed(rows):
        raise typer.Exit(1)
