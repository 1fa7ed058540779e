"""A student from a teacher's checkpoint, or only the table of what would be kept."""

from __future__ import annotations

from pathlib import Path

import torch

from hummingbird.errors import UserError
from hummingbird.files import replacing_folder
from hummingbird.models.blocks import block_table, format_table
from hummingbird.models.convert.public import UNETS, load_unet
from hummingbird.models.pruning import count_parameters, find_plan, prune
from hummingbird.models.unet import VideoUNet


def show_plan(plan: str, teacher: Path | None) -> str:
    """The table of blocks for one video at the paper's size. No weights are read; no ``teacher`` means VideoCrafter2.

    Raises:
        UserError: unknown plan, one that does not fit, or no teacher at that path.
    """
    config = UNETS["videocrafter2"]
    if teacher is not None and teacher.is_dir():
        config = VideoUNet.load_config(_model_folder(teacher))
    with torch.device("meta"):
        network = VideoUNet.from_config(config)
    return format_table(block_table(network, find_plan(plan)))


def write_student(plan: str, teacher: Path, out: Path, guidance_dim: int) -> str:
    """Prune ``teacher`` (a folder of ours, or a public checkpoint of VideoCrafter2) and save the student to ``out``.

    Returns:
        One line about the two.

    Raises:
        UserError: unknown plan, one that does not fit, a teacher that cannot be read, or ``out`` cannot be written.
    """
    chosen = find_plan(plan)
    if teacher.is_dir():
        network = VideoUNet.from_pretrained(_model_folder(teacher), dtype=torch.float32)
    else:
        network = load_unet(teacher, "videocrafter2", torch.float32)
    student = prune(network, chosen, guidance_dim=guidance_dim or None)
    with replacing_folder(out) as folder:
        student.save_pretrained(folder)
    return f"{out}: {count_parameters(student):,} of the teacher's {count_parameters(network):,} parameters"


def _model_folder(path: Path) -> Path:
    if not (path / "config.json").is_file():
        raise UserError(f"{path} holds no model", "name a folder with config.json, or a checkpoint file")
    return path
