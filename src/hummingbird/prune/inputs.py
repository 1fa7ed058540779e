"""What a study of a teacher's blocks starts from: the teacher, latents that fit it, a plan and a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from hummingbird.data.latents import LatentDataset
from hummingbird.errors import UserError
from hummingbird.models.convert.public import load_unet
from hummingbird.models.noise import NoiseSchedule, videocrafter_scheduler
from hummingbird.models.pruning import PLANS, PruningPlan, find_plan, hummingbird_plan
from hummingbird.models.unet import VideoUNet


@dataclass(frozen=True)
class Teacher:
    """A teacher and its noise schedule.

    Args:
        files: the file or folders that it was read from.
    """

    unet: VideoUNet
    schedule: NoiseSchedule
    files: tuple[Path, ...]


def read_teacher(path: Path) -> Teacher:
    """A folder with ``unet`` and ``scheduler`` as the stage ``foundation`` makes it, a folder of a UNet alone, or a
    public checkpoint of VideoCrafter2; the last two with VideoCrafter2's noise schedule.

    Raises:
        UserError: there is none at that path, it cannot be read, or it is a distilled student.
    """
    if not path.exists():
        raise UserError(
            f"there is no teacher at {path}",
            "make the default one: dvc repro foundation; or name a folder or a checkpoint by --teacher",
        )
    if path.is_file():
        unet, files = load_unet(path, "videocrafter2", torch.float32), (path,)
    else:
        folder = path / "unet" if (path / "unet").is_dir() else path
        if not (folder / "config.json").is_file():
            raise UserError(f"{path} holds no UNet", "name a folder with unet/config.json, or a checkpoint file")
        unet, files = VideoUNet.from_pretrained(folder, dtype=torch.float32), (folder,)
    if unet.config.time_cond_proj_dim is not None:
        raise UserError(
            f"{path} has a guidance embedding, so it is a student; its guided output is no target",
            "name the teacher that it was made from",
        )
    scheduler = path / "scheduler"
    if not scheduler.is_dir():
        return Teacher(unet, NoiseSchedule(videocrafter_scheduler()), files)
    return Teacher(unet, NoiseSchedule(DDIMScheduler.from_pretrained(scheduler)), (*files, scheduler))


def check_latents(data: LatentDataset, sample: dict[str, Any], unet: VideoUNet) -> None:
    """Refuse latents of another VAE, size or text encoder than the teacher's.

    Args:
        sample: a batch of ``data``.

    Raises:
        UserError: with the sizes that differ.
    """
    _, channels, _, height, width = sample["latents"].shape
    text, factor = sample["text"].shape[-1], 2**unet.num_upsamplers
    wrong = []
    if channels != unet.config.in_channels:
        wrong.append(f"they have {channels} channels, the teacher takes {unet.config.in_channels}")
    if height % factor or width % factor:
        wrong.append(f"they are {height} x {width}, the teacher takes multiples of {factor}")
    if text != unet.config.cross_attention_dim:
        wrong.append(f"their text is {text} wide, the teacher's {unet.config.cross_attention_dim}")
    if wrong:
        raise UserError(
            f"the latents in {data.folder} are not this teacher's: {'; '.join(wrong)}",
            "encode the clips with the VAE and text encoder of this teacher (dvc repro encode), or name others by "
            "--latents",
        )


def named_plans(unet: VideoUNet) -> dict[str, PruningPlan]:
    """The paper's two plans, for as many levels as the teacher has."""
    levels = len(unet.config.block_out_channels)
    return {name: hummingbird_plan(levels, mid_block=plan.mid_block) for name, plan in PLANS.items()}


def choose_plan(name: str, unet: VideoUNet) -> PruningPlan:
    """A plan by its name in :func:`named_plans`, or from a file.

    Raises:
        UserError: see :func:`~hummingbird.models.pruning.find_plan`.
    """
    named = named_plans(unet)
    return named[name] if name in named else find_plan(name)
