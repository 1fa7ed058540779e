"""``hummingbird curate`` and ``hummingbird finetune``: what is made of a user's clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def curate(
    source: Annotated[
        str | None,
        typer.Option(help="A CSV, a folder, s3://bucket/prefix, hf://dataset or world; none = that of the parameters."),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="webvid, openvid, captions, folder, ...; none = what it looks like.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the result; none = curated/NAME OF THE SOURCE.")
    ] = None,
    params: Annotated[Path, typer.Option(help="Parameter file, e.g. one of profiles/.")] = Path("params.yaml"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value for one parameter; repeatable."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows of the source.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try a few rows, and say what the whole would do, take and need.")
    ] = False,
    clip: Annotated[
        str | None, typer.Option("--explain", metavar="CLIP_ID", help="All scores, bounds and frames of one clip.")
    ] = None,
) -> None:
    """Make a training set of clips: fetch, cut, measure, filter, recaption and encode, with a reason for every clip.

    A run that was stopped goes on where it was when it is started again. Exit code 0: there is a training set.
    """
    from rich.console import Console

    from hummingbird.curate import command
    from hummingbird.curate.setting import Request

    request = Request(source, format_, out, params, limit, overrides or ())
    console = Console()
    if clip is not None:
        command.explain_clip(request, clip, console)
    elif dry_run:
        command.dry_run(request, console)
    else:
        command.curate(request, console)


def finetune(
    data: Annotated[str, typer.Option(help="A folder of videos with captions, or another source as curate takes it.")],
    model: Annotated[
        str, typer.Option("--from", help="The student to start from: stage2, stage1, or the folder of a pipeline.")
    ] = "stage2",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the style; none = lora/NAME OF THE DATA.safetensors.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps; none = finetune.optim.steps.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="webvid, openvid, captions, folder, ...; none = what it looks like.")
    ] = None,
    params: Annotated[Path, typer.Option(help="Parameter file, e.g. one of profiles/.")] = Path("params.yaml"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value for one parameter; repeatable."),
    ] = None,
) -> None:
    """Teach a student the style of your clips: curate them, then train adapters (LoRA) for `generate --lora`.

    A run that was stopped goes on where it was when it is started again.
    """
    from rich.console import Console

    from hummingbird.finetune.command import Request
    from hummingbird.finetune.command import finetune as run

    run(Request(data, model, out, format_, params, steps, overrides or ()), Console())
