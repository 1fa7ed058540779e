"""``hummingbird flow``."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Run the pipeline by Prefect, or let the Prefect UI run it.", no_args_is_help=True)


@app.command("run")
def flow_run(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages to bring up to date; none = all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run them even if nothing has changed.")] = False,
    profile: Annotated[str | None, typer.Option(help="First make profiles/NAME.yaml the active parameters.")] = None,
) -> None:
    """Run what has changed of the pipeline, several stages at a time, in this process."""
    from flows.pipeline import run_flow

    raise typer.Exit(run_flow(targets=targets or None, profile=profile, force=force))


@app.command("serve")
def flow_serve() -> None:
    """Register a deployment that the Prefect UI can start with parameters, and run what it starts. Ctrl-C ends it."""
    from flows.pipeline import serve

    serve()
