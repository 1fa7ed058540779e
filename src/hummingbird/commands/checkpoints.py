"""``hummingbird checkpoints``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hummingbird.commands.terminal import TerminalLog

app = typer.Typer(help="The public checkpoints: fetch, list, verify, convert.", no_args_is_help=True)


@app.command("list")
def checkpoints_list() -> None:
    """Show every public checkpoint: what it is, where it comes from, its licence, its size, and whether it is here."""
    from hummingbird.checkpoints.catalogue import catalogue
    from hummingbird.checkpoints.inventory import show
    from hummingbird.checkpoints.store import Store

    show(Store(), catalogue())


@app.command("fetch")
def checkpoints_fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names as in the list; none = those of params.yaml.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept-licenses", help="You have read the licences printed, and accept them.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this folder, or this file; no network is used.")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="With --from: hard-link the files, do not copy them.")] = False,
    source: Annotated[
        str | None, typer.Option(help="Another address: hf://owner/repository, s3://bucket/key, https://host/path.")
    ] = None,
) -> None:
    """Fetch public checkpoints into checkpoints/, verified. An interrupted fetch goes on where it ended."""
    from hummingbird.checkpoints.catalogue import catalogue, choose
    from hummingbird.checkpoints.fetch import Options, fetch
    from hummingbird.checkpoints.inventory import licences
    from hummingbird.checkpoints.store import Store
    from hummingbird.profiles import checkpoint_names

    chosen = choose(names or checkpoint_names(), catalogue())
    typer.echo(f"Licences:\n{licences(chosen)}")
    done = fetch(chosen, Store(), Options(accept, folder, source, link), TerminalLog())
    for name, fetched in done.items():
        typer.echo(f"{name}: {'fetched' if fetched else 'was here'}, in {Store().path(name, '')}")


@app.command("convert")
def checkpoints_convert(
    name: Annotated[str, typer.Argument(help="A denoiser of the list: hummingbird-0.7b or videocrafter2.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make; an older one is replaced.")],
) -> None:
    """Make a pipeline folder, for `hummingbird generate --model FOLDER`, of checkpoints that were fetched.

    Autoencoder and text encoder are videocrafter2's, the tokenizer is clip-vit-h-14's. A killed conversion goes on
    after its last finished network.
    """
    from hummingbird.checkpoints.store import Store
    from hummingbird.pipelines.public import write_model

    write_model(name, Store(), out, TerminalLog())
    typer.echo(f"{out}: hummingbird generate PROMPT --model {shlex.quote(str(out))}")


@app.command("negative")
def checkpoints_negative(
    file: Annotated[Path, typer.Argument(help="A negative embedding, e.g. one of the public .bin files of ReNeg.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
) -> None:
    """Convert a negative embedding to safetensors, and say which text encoder it is for.

    Only tensors are read of the file. `hummingbird generate --negative-embedding` takes either form.
    """
    from hummingbird.pipelines.negative import convert_negative

    typer.echo(convert_negative(file, out))


@app.command("verify")
def checkpoints_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names as in the list; none = all that are here.")] = None,
) -> None:
    """Read what was fetched again and compare it with its sha256. Exit code 1 if anything is damaged or missing."""
    from hummingbird.checkpoints.catalogue import catalogue, choose
    from hummingbird.checkpoints.inventory import find_damage
    from hummingbird.checkpoints.store import Store

    chosen = choose(names or catalogue(), catalogue())
    count, damage = find_damage(Store(), chosen, TerminalLog())
    for item in damage:
        typer.secho(f"{item.path}: {item.problem}", fg="red")
    typer.echo(f"{count - len(damage)} of {count} files are as recorded")
    if damage:
        broken = " ".join(dict.fromkeys(item.name for item in damage))
        typer.echo(f"next: hummingbird checkpoints fetch {broken}")
        raise typer.Exit(1)
