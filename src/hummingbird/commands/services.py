"""``hummingbird services``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="PostgreSQL, an S3 store, MLflow, Prefect and its runner, as processes of this machine.", no_args_is_help=True
)
Names = Annotated[list[str] | None, typer.Argument(help="postgres, s3, mlflow, prefect, worker; none = all.")]


@app.command("start")
def services_start(names: Names = None) -> None:
    """Start the servers, and what they need; those that work already are left alone, dead ones are replaced.

    They stay when this command ends. Their files, logs and passwords are in .work/services.
    """
    from hummingbird.errors import UserError
    from hummingbird.ops.services.control import start_services
    from hummingbird.ops.services.site import Site

    if not Path("dvc.yaml").is_file():
        raise UserError(f"{Path.cwd()} has no dvc.yaml, so it is no project", "go to the project's folder")
    start_services(Site(Path()), names or (), typer.echo)
    typer.echo('To use them in this shell: eval "$(hummingbird services env)"')


@app.command("stop")
def services_stop(names: Names = None) -> None:
    """Stop what `start` started, and nothing else. Data stays."""
    from hummingbird.ops.services.control import stop_services
    from hummingbird.ops.services.site import Site

    stop_services(Site(Path()), names or (), typer.echo)


@app.command("status")
def services_status() -> None:
    """Ask every server whether it works. Exit code 1 unless all do."""
    from hummingbird.ops.services.control import report
    from hummingbird.ops.services.site import Site

    reports = report(Site(Path()))
    for one in reports:
        colour = {"working": "green", "stopped": None}.get(one.state, "red")
        name, state = f"{one.name:<10}", typer.style(f"{one.state:<9}", fg=colour)
        typer.echo(f"{name}{state}{one.pid or '-':>8}  {one.address:<34}{one.log}")
    if any(one.state != "working" for one in reports):
        raise typer.Exit(1)


@app.command("env")
def services_env() -> None:
    """Print the exports that make programs use these servers, secrets included: eval "$(hummingbird services env)"."""
    from hummingbird.ops.services.control import exports
    from hummingbird.ops.services.site import Site

    typer.echo(exports(Site(Path())))
