"""Contact sheets: many clips on one picture, each as a strip of frames with a label."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hummingbird.data import video_io
from hummingbird.data.shards import iter_clips
from hummingbird.data.video_io import Video
from hummingbird.files import replacing

Picture = NDArray[np.uint8]  # [H, W, 3], RGB

_FRAMES = 4
_PREVIEW_FRAMES = 64
_HEIGHT = 96  # of one frame, in pixels
_GAP = 6
_BORDER = 3
_LINE = 13
_GREEN, _RED, _GREY = (40, 150, 60), (200, 50, 40), (150, 150, 150)


def _strip(clip: Video) -> Image.Image:
    """Four frames side by side, scaled to one height: up by whole factors for tiny clips, down for large ones."""
    picks = clip[np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int)]
    row = Image.fromarray(np.concatenate(list(picks), axis=1))
    factor = max(1, _HEIGHT // clip.shape[1]) if clip.shape[1] <= _HEIGHT else _HEIGHT / clip.shape[1]
    size = (round(row.width * factor), round(row.height * factor))
    return row.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX)


def _wrap(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """At most two lines of about ``width`` pixels."""
    letter = font.getlength(label) / max(1, len(label))
    return textwrap.wrap(label, max(10, int(width / max(letter, 1))), max_lines=2, placeholder=" ...")


def contact_sheet(
    clips: Sequence[Video], labels: Sequence[str], columns: int = 3, kept: Sequence[bool] | None = None
) -> Picture:
    """Draw clips (uint8 [T, H, W, 3], of any sizes) as labelled strips, ``columns`` side by side.

    ``kept`` gives a strip a green border where true and a red one where false; without it borders are grey.
    """
    if len(clips) != len(labels) or not clips:
        raise ValueError(f"need as many labels as clips, and at least one: got {len(labels)} and {len(clips)}")
    strips = [_strip(clip) for clip in clips]
    width = max(strip.width for strip in strips) + 2 * (_BORDER + _GAP)
    height = max(strip.height for strip in strips) + 2 * (_BORDER + _GAP) + 2 * _LINE
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (width * min(columns, len(strips)), height * rows), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for number, (strip, label) in enumerate(zip(strips, labels, strict=True)):
        left, top = number % columns * width + _GAP, number // columns * height + _GAP
        color = _GREY if kept is None else _GREEN if kept[number] else _RED
        right, bottom = left + strip.width + 2 * _BORDER - 1, top + strip.height + 2 * _BORDER - 1
        draw.rectangle((left, top, right, bottom), fill=color)
        sheet.paste(strip, (left + _BORDER, top + _BORDER))
        for line, text in enumerate(_wrap(label, width - 3 * _GAP, font)):
            draw.text((left, top + strip.height + 2 * _BORDER + line * _LINE), text, fill="black", font=font)
    return np.asarray(sheet)


def _preview(row: dict[str, Any], data: bytes) -> Video:
    """The first seconds of a clip, decoded no larger than they are shown."""
    small = None if row["height"] <= _HEIGHT else (_HEIGHT, max(1, round(row["width"] * _HEIGHT / row["height"])))
    return video_io.decode(data, _PREVIEW_FRAMES, cover=small)[0]


def table_sheet(shards: Path, table: pl.DataFrame, count: int = 24, columns: int = 3) -> Picture | None:
    """A contact sheet of at most ``count`` clips spread evenly over a clip table; ``shards`` is the folder they are in.

    Labels are captions, after the reason where a clip was dropped. ``None`` if no clip of the table has a video.
    """
    shown = table.filter(pl.col("shard") != "")
    if shown.is_empty():
        return None
    shown = shown.gather_every(max(1, len(shown) // count)).head(count)
    clips, labels, kept = [], [], []
    for row, data in iter_clips(shards, shown, kept_only=False):
        clips.append(_preview(row, data))
        labels.append(row["caption"] if row["kept"] else f"{row['reason']} | {row['caption']}")
        kept.append(bool(row["kept"]))
    return contact_sheet(clips, labels, columns, kept)


def save_sheet(picture: Picture, path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    with replacing(path) as part:
        Image.fromarray(picture).save(part, format="png")
