"""The command line: ``hummingbird``. Commands import what they need when they run, so that ``--help`` is instant."""

from __future__ import annotations

import errno
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hummingbird import telemetry
from hummingbird.errors import UserError
from hummingbird.runlog import SilentLog, T

HELP = (
    "Distil a text-to-video model to four steps, from raw clips to a scored and timed student.\n\n"
    "Run from the project folder. [bold]make run[/] or [bold]hummingbird flow run[/] makes everything up to "
    'reports/index.html; [bold]hummingbird generate "a large plain red circle moves slowly left on sea"[/] then shows '
    "what was learned. A mistake that you can put right is printed with the next step to take (exit code 2)."
)

USER_ERROR, INTERRUPTED = 2, 130


class Commands(TyperGroup):
    """The commands, with errors that a user can act on printed in place of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["command"] = shlex.join(["hummingbird", *args])
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        telemetry.switch_off()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.secho(f"stopped. To resume: {ctx.meta['command']}", fg="yellow", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (UserError, OSError) as error:
            known = error if isinstance(error, UserError) else explain_os_error(error)
            if known is None or ctx.params.get("debug"):
                raise
            typer.secho(f"error: {known.problem}", fg="red", err=True)
            typer.secho(f"next:  {known.next_step}", err=True)
            raise typer.Exit(USER_ERROR) from None


def explain_os_error(error: OSError) -> UserError | None:
    """A full disk or a missing right in words; None for any other error."""
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(Path.cwd()).free / 1e9
        return UserError(
            f"no space left to write {where} ({free:.2f} GB free here)",
            "free some disk space (dvc gc --workspace removes cached results of older runs), then run the same again",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"no permission to use {where}: {error.strerror}", f"see: ls -ld {shlex.quote(str(where))}")
    return None


class TerminalLog(SilentLog):
    """Progress bars and nothing else: for what runs outside the pipeline, with no run to record it in."""

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        from tqdm import tqdm

        yield from tqdm(items, desc=description, total=total, mininterval=0.2 if sys.stderr.isatty() else 15.0)


app = typer.Typer(
    cls=Commands, help=HELP, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_show_locals=False
)
flow_app = typer.Typer(help="Run the pipeline by Prefect, or let the Prefect UI run it.", no_args_is_help=True)
miniature_app = typer.Typer(help="The small models that the default run starts from.", no_args_is_help=True)
params_app = typer.Typer(help="The parameter set, params.yaml.", no_args_is_help=True)
checkpoints_app = typer.Typer(help="The public checkpoints: fetch, list, verify, convert.", no_args_is_help=True)
prune_app = typer.Typer(invoke_without_command=True)
profile_app = typer.Typer(help="Complete parameter sets, by model and hardware.", no_args_is_help=True)
app.add_typer(checkpoints_app, name="checkpoints")
app.add_typer(flow_app, name="flow")
app.add_typer(miniature_app, name="miniature")
app.add_typer(params_app, name="params")
app.add_typer(profile_app, name="profile")
app.add_typer(prune_app, name="prune")


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="HUMMINGBIRD_DEBUG", help="Show the traceback of every error.")
    ] = False,
) -> None:
    """Options of every command; ``debug`` is read by :class:`Commands`."""


@app.command()
def stage(name: Annotated[str, typer.Argument(help="Name of the stage, as in dvc.yaml.")]) -> None:
    """Run one stage in this process, as `dvc repro` does, with gates and tracking, even if it is up to date."""
    from hummingbird.ops.runner import run_stage

    for metric, value in run_stage(name, Path()).items():
        typer.echo(f"{name}.{metric} = {value:.6g}")


@flow_app.command("run")
def flow_run(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages to bring up to date; none = all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run them even if nothing has changed.")] = False,
    profile: Annotated[str | None, typer.Option(help="First make profiles/NAME.yaml the active parameters.")] = None,
) -> None:
    """Run what has changed of the pipeline, several stages at a time, in this process."""
    from flows.pipeline import run_flow

    raise typer.Exit(run_flow(targets=targets or None, profile=profile, force=force))


@flow_app.command("serve")
def flow_serve() -> None:
    """Register a deployment that the Prefect UI can start with parameters, and run what it starts. Ctrl-C ends it."""
    from flows.pipeline import serve

    serve()


@app.command()
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
) -> None:
    """Generate a video from a prompt. Options left out take the model's own defaults."""
    from hummingbird.generate import Request
    from hummingbird.generate import generate as run
    from hummingbird.layout import Layout

    request = Request(prompt, out, model, seed, steps, frames, guidance, negative, scale)
    made = run(request, Layout())
    if made.unknown_words:
        typer.secho(f"note: not in the model's vocabulary: {', '.join(made.unknown_words)}", fg="yellow", err=True)
    count, height, width, _ = made.shape
    typer.echo(f"{out}: {count} frames, {width} x {height}")


@app.command()
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


@app.command()
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


@prune_app.callback()
def prune(
    ctx: typer.Context,
    plan: Annotated[
        str | None, typer.Option(help="0.9b, 0.7b (Hummingbird's students of VideoCrafter2), or a plan's file.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of a model, or a public checkpoint of VideoCrafter2.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the student.")] = None,
    guidance_dim: Annotated[int, typer.Option(min=0, help="Width of its guidance embedding; 0 = none.")] = 256,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be kept.")] = False,
) -> None:
    """Make a student of some of a teacher's blocks, or show its table: kept, dropped, parameters, operations."""
    if ctx.invoked_subcommand is not None:
        if plan is not None or teacher is not None or out is not None or dry_run:
            name = ctx.invoked_subcommand
            raise UserError(f"options before {name} are not its own", f"write them after it: hummingbird prune {name}")
    elif plan is None:
        raise UserError("no plan is given", "give --plan 0.7b, or see which blocks matter: hummingbird prune study")
    elif dry_run:
        from hummingbird.prune.student import show_plan

        typer.echo(show_plan(plan, teacher))
    elif teacher is None or out is None:
        raise UserError("a student needs a teacher and a place", "give --teacher and --out, or look first: --dry-run")
    else:
        from hummingbird.prune.student import write_student

        typer.echo(write_student(plan, teacher, out, guidance_dim))


@prune_app.command("study")
def prune_study(
    teacher: Annotated[Path, typer.Option(help="Folder of a model, or a public checkpoint of VideoCrafter2.")] = Path(
        "artifacts/foundation"
    ),
    latents: Annotated[Path, typer.Option(help="Folder of latents that its VAE encoded.")] = Path("data/latents"),
    plan: Annotated[
        str, typer.Option(help="0.9b, 0.7b (for any number of levels), or a plan's file: marks what it drops.")
    ] = "0.7b",
    batches: Annotated[int, typer.Option(min=2, help="Batches that every change is measured on.")] = 16,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a batch.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of clips, noise, timesteps and guidance scales.")] = 1,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda (also ROCm), cuda:1, ...")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for importance.json, .csv and .png.")] = Path("reports/prune_study"),
) -> None:
    """Measure which blocks matter: the distillation loss of the teacher without each of them, before any training.

    A stopped study goes on where it was when it is started again.
    """
    from hummingbird.layout import Layout
    from hummingbird.params import load_params
    from hummingbird.prune.study import Request, study

    request = Request(teacher, latents, plan, batches, batch_size, seed, device, out)
    typer.echo(study(request, load_params(), Layout(), TerminalLog()))
    typer.echo(f"written to {out}: importance.json, importance.csv, importance.png")


@miniature_app.command("train")
def miniature_train(
    only: Annotated[str | None, typer.Option(help="Train just this model.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("assets/miniature"),
    budget: Annotated[float, typer.Option(min=0.0001, help="Multiplies every number of steps; 1 = as shipped.")] = 1.0,
) -> None:
    """Train the miniature's models from nothing: teacher, VAE, text encoder, rewards and helpers."""
    from hummingbird.miniature.train import train_all

    for name, figures in train_all(out, only=[only] if only else None, budget=budget, log=TerminalLog()).items():
        typer.echo(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in figures.items())}")


@params_app.command("check")
def params_check(
    path: Annotated[Path, typer.Argument(help="The file to check.")] = Path("params.yaml"),
) -> None:
    """Check a parameter file: unknown, misspelt or missing names, wrong types, values out of range."""
    from hummingbird.params import load_params

    load_params(path)
    typer.echo(f"{path} is a valid, complete parameter set")


@checkpoints_app.command("list")
def checkpoints_list() -> None:
    """Show every public checkpoint: what it is, where it comes from, its licence, its size, and whether it is here."""
    from hummingbird.checkpoints.catalogue import catalogue
    from hummingbird.checkpoints.inventory import show
    from hummingbird.checkpoints.store import Store

    show(Store(), catalogue())


@checkpoints_app.command("fetch")
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


@checkpoints_app.command("convert")
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


@checkpoints_app.command("verify")
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


@profile_app.command("list")
def profile_list() -> None:
    """List the profiles, each with a line about it; the active one is marked."""
    from hummingbird.profiles import show_list

    show_list()


@profile_app.command("show")
def profile_show(name: Annotated[str, typer.Argument(help="Name of a file in profiles/, without .yaml.")]) -> None:
    """Print a profile."""
    from hummingbird.profiles import find_profile

    typer.echo(find_profile(name).read_text(), nl=False)


@profile_app.command("use")
def profile_use(
    name: Annotated[str, typer.Argument(help="Name of a file in profiles/, without .yaml.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite edits of params.yaml that no profile holds.")
    ] = False,
) -> None:
    """Make a profile the active parameter set: copy it to params.yaml."""
    from hummingbird.profiles import use_profile

    use_profile(name, force=force)
    typer.echo(f"params.yaml is now profile {name}")


@profile_app.command("diff")
def profile_diff(
    first: Annotated[str, typer.Argument(help="Name of a profile.")],
    second: Annotated[str | None, typer.Argument(help="Name of another; none = params.yaml.")] = None,
) -> None:
    """Show which parameters differ between two profiles, or between params.yaml and one."""
    from hummingbird.profiles import show_difference

    show_difference(first, second)


@app.command()
def doctor() -> None:
    """Check this machine: versions, torch build, device, memory, disk, DVC, MLflow, Prefect, models, telemetry."""
    from hummingbird.doctor import examine, show

    findings = examine(Path())
    show(findings)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)
