"""``hummingbird track``."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(help="What MLflow has not been told yet, because its server was away.", no_args_is_help=True)


@app.command("sync")
def track_sync() -> None:
    """Send MLflow what waits in .work/outbox. May be stopped at any time and repeated: nothing is lost or doubled.

    Exit code 1 if something waits on: it cannot be sent now, or belongs to another server.
    """
    from hummingbird.ops.server import connect
    from hummingbird.ops.syncing import sync

    done = sync(Path(), connect(Path()))
    typer.echo(f"{len(done.sent)} runs sent" + (f", of which {len(done.killed)} were killed" if done.killed else ""))
    for name, reason in done.failed.items():
        typer.secho(f"{name} waits on: {reason}", fg="red", err=True)
    for name, uri in done.elsewhere.items():
        typer.secho(f"{name} belongs to {uri}; next: MLFLOW_TRACKING_URI={uri} hummingbird track sync", err=True)
    if done.running:
        typer.echo(f"{len(done.running)} are open; whoever runs them sends them")
    if done.failed or done.elsewhere:
        raise typer.Exit(1)


@app.command("status")
def track_status() -> None:
    """List the runs that MLflow does not have all of: what waits of each, and since when."""
    from hummingbird.ops.syncing import outlook

    for line in outlook(Path()) or ["MLflow has all of every run"]:
        typer.echo(line)
