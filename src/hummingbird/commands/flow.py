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
    clean: Annotated[
        bool, typer.Option("--clean", help="Work on the last commit, in a git worktree and on a branch of its own.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.NAME=VALUE", help="Another value for a parameter; implies --clean."),
    ] = None,
    stage_timeout: Annotated[
        float | None, typer.Option(min=1.0, metavar="SECONDS", help="Stop a stage that takes longer.")
    ] = None,
) -> None:
    """Run what has changed of the pipeline, several stages at a time, in this process."""
    from flows.pipeline import run_flow
    from flows.settings import Settings, parse_overrides

    settings = Settings(
        targets=targets or None,
        profile=profile,
        force=force,
        clean=clean,
        overrides=parse_overrides(overrides or []) or None,
        stage_timeout_s=stage_timeout,
    )
    raise typer.Exit(run_flow(settings))


@app.command("serve")
def flow_serve(
    cron: Annotated[str | None, typer.Option(help="Also run the pipeline at these times, as '0 3 * * *'.")] = None,
) -> None:
    """Register deployments that the Prefect UI can start with parameters, and run what it starts. Ctrl-C ends it."""
    from flows.pipeline import serve

    serve(cron)
