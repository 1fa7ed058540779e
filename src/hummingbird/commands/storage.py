"""``hummingbird storage``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Where data, models and runs are kept besides this machine.", no_args_is_help=True)


@app.callback()
def storage() -> None:
    """A group of its own: typer would take a lone command for the group."""


@app.command("init")
def storage_init(
    url: Annotated[str, typer.Argument(help="s3://bucket/prefix; DVC gets PREFIX/dvc, MLflow PREFIX/mlflow.")],
    endpoint: Annotated[
        str | None, typer.Option(envvar="AWS_ENDPOINT_URL_S3", help="Address of an S3 server that is not Amazon's.")
    ] = None,
    sse: Annotated[
        str | None,
        typer.Option(
            envvar="HUMMINGBIRD_S3_SSE", help="Encryption by the server: AES256 or aws:kms; none = its default."
        ),
    ] = None,
    kms_key: Annotated[
        str | None, typer.Option(envvar="HUMMINGBIRD_S3_KMS_KEY", help="The key's id, with --sse aws:kms.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Make the bucket if it does not exist.")] = False,
) -> None:
    """Check that a place in S3 can be used, and make it DVC's remote and the place of MLflow's artifacts.

    The credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE) and are written
    nowhere. Running it again is harmless.
    """
    from hummingbird.ops.storage_setup import Place, prepare

    made = prepare(Place(url, endpoint, sse, kms_key), Path(), create=create)
    typer.echo(f"DVC pushes to {made.dvc} (commit .dvc/config)")
    typer.echo(f"MLflow's artifacts: {made.mlflow}")
    if made.note:
        typer.secho(f"note: {made.note}", fg="yellow", err=True)
    for name, value in made.environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
