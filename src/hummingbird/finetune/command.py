"""The command: curate a user's clips, and teach a student their style."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from hummingbird.curate import command as curation
from hummingbird.curate.setting import Request as Curation
from hummingbird.curate.setting import setting_of
from hummingbird.curate.steps import in_other_words
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors
from hummingbird.finetune.tuning import tune
from hummingbird.layout import Layout
from hummingbird.ops import tracking
from hummingbird.pipelines.style import student_folder

FOLDER = Path("lora")


@dataclass(frozen=True)
class Request:
    """The options of the command line.

    ``data`` is a folder of videos, or any other source of ``hummingbird curate``; ``model`` is ``stage1``, ``stage2``
    or the folder of a student's pipeline; ``overrides``: texts like ``finetune.lora.rank=32``.
    """

    data: str
    model: str = "stage2"
    out: Path | None = None
    format: str | None = None
    params: Path = Path("params.yaml")
    steps: int | None = None
    overrides: Sequence[str] = ()


def finetune(request: Request, console: Console) -> None:
    """Write the adapters; see :mod:`hummingbird.finetune`.

    Raises:
        UserError: the clips, the student, a parameter or the file cannot be used, no clip is left, or the training is
            given up. What is finished stays, and the same command goes on from there.
    """
    clips = _clips(request)
    setting = setting_of(clips)
    _check_alone(setting.params.training.processes, console)
    out = _checked(request.out or FOLDER / f"{setting.layout.root.name}.safetensors")
    student = student_folder(Layout(), request.model)
    curation.curate(clips, console)
    values = {"data": request.data, "from": request.model, "seed": setting.params.seed}
    values["finetune"] = setting.params.finetune.model_dump(mode="json")
    with tracking.single_run(Path(), f"finetune {out.stem}", values, {"stage": "finetune"}) as log, in_other_words():
        history = tune(setting.params, student, setting.layout.latents, out, log)
        log.artifact(out)
    words = ["hummingbird", "generate", "PROMPT", "--model", request.model, "--lora", str(out)]
    lines = {
        "adapters": f"{out} (rank {setting.params.finetune.lora.rank}, {len(history):,} steps)",
        "to use them": shlex.join(words),
    }
    for name, text in lines.items():
        console.print(f"{name:<13} {escape(text)}", highlight=False, soft_wrap=True)


def _check_alone(processes: int, console: Console) -> None:
    """This training is one process's; the parts of a step that others would have shared are its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("finetune trains in one process", "start it without torchrun or accelerate launch")
    if processes > 1:
        console.print(f"note: finetune trains in one process; training.processes = {processes} is for the pipeline")


def _clips(request: Request) -> Curation:
    """What is to be curated."""
    if "://" not in request.data and request.data != "world" and not Path(request.data).exists():
        raise UserError(f"there is no folder {request.data}", "name a folder of videos with captions: docs/finetune.md")
    steps = [f"finetune.optim.steps={request.steps}"] if request.steps else []
    return Curation(request.data, request.format, None, request.params, None, [*request.overrides, *steps])


def _checked(out: Path) -> Path:
    """The file to write, tried before hours of work are put into it."""
    if out.suffix != ".safetensors" or out.is_dir():
        raise UserError(f"cannot write {out}: adapters are a .safetensors file", "give such a name with --out")
    with explain_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        trial = out.with_name(f".{out.name}.trial")
        trial.touch()
        trial.unlink()
    return out
