"""``hummingbird generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hummingbird.commands.terminal import TerminalLog


def generate(
    prompt: Annotated[str, typer.Argument(help="What to show.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The MP4 file to write.")] = Path("video.mp4"),
    model: Annotated[
        str,
        typer.Option(help="stage2, stage1, pruned (students); teacher, reneg (50 steps); or the folder of a pipeline."),
    ] = "stage2",
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another video.")] = 0,
    frames: Annotated[int | None, typer.Option(min=1, help="Length of the video.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0.0, help="g in uncond + g (cond - uncond).")] = None,
    negative: Annotated[str | None, typer.Option(help="What not to show (teacher and reneg only).")] = None,
    scale: Annotated[int | None, typer.Option(min=1, help="Enlarge pixels so many times; default: to 256.")] = None,
    negative_embedding: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A learned negative embedding, .safetensors or .bin.")
    ] = None,
    fit_negative: Annotated[
        bool,
        typer.Option(
            "--fit-negative",
            help="First fit the negative embedding to this prompt by the rewards; decodes with the model's own VAE.",
        ),
    ] = False,
    lora: Annotated[
        Path | None, typer.Option(help="A style: the file that `hummingbird finetune` wrote (students only).")
    ] = None,
    lora_scale: Annotated[float, typer.Option(help="Strength of the style: 0 = none, 1 = as trained.")] = 1.0,
    decoder: Annotated[
        str,
        typer.Option(help="original (the model's VAE), light (stage decoder), tiny (TAESD), or a decoder's folder."),
    ] = "original",
) -> None:
    """Generate a video from a prompt. Options left out take the model's own defaults."""
    from hummingbird.generate import Request
    from hummingbird.generate import generate as run
    from hummingbird.layout import Layout

    request = Request(
        prompt,
        out,
        model,
        seed,
        steps,
        frames,
        guidance,
        negative,
        scale,
        negative_embedding=negative_embedding,
        fit_negative=fit_negative,
        lora=lora,
        lora_scale=lora_scale,
        decoder=decoder,
    )
    made = run(request, Layout(), TerminalLog())
    if made.warning:
        typer.secho(f"note: {made.warning}", fg="yellow", err=True)
    if made.unknown_words:
        typer.secho(f"note: not in the model's vocabulary: {', '.join(made.unknown_words)}", fg="yellow", err=True)
    if (fit := made.fit) is not None:
        taken = f"of step {fit.best_step}" if fit.best_step else "as it was"
        typer.echo(f"reward {fit.before:.4f} -> {fit.after:.4f} in {fit.steps} steps; the embedding {taken} is used")
    count, height, width, _ = made.shape
    typer.echo(f"{out}: {count} frames, {width} x {height}")
