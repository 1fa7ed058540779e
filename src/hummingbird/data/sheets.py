"""Contact sheets: many clips on one picture, each as a strip of frames with a label."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hummingbird.data.video_io import Video
from hummingbird.files import replacing

Picture = NDArray[np.uint8]  # [H, W, 3], RGB

_FRAMES = 4
_HEIGHT = 96  # of one frame, in pixels
_NO_VIDEO = (4 * _HEIGHT, 28)  # width and height of the tile of a clip that has none
_SHEET_WIDTH = 1218  # as wide as a page, so that nobody has to scale labels down
_STRIP_WIDTH = 591  # at most; two fit on a sheet
_LINES = (2, 3)  # of a label, least and most
_GAP = 6
_BORDER = 3
_LINE = 13
_GREEN, _RED, _GREY = (40, 150, 60), (200, 50, 40), (150, 150, 150)
_PALE, _DARK = (228, 228, 228), (90, 90, 90)


def _strip(clip: Video | None) -> Image.Image:
    """Four frames side by side, scaled to one height: up by whole factors for tiny clips, down for large ones and
    further for those that would be too wide. Grey without a clip."""
    if clip is None:
        return _empty_tile()
    picks = clip[np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int)]
    row = Image.fromarray(np.concatenate(list(picks), axis=1))
    factor = max(1, _HEIGHT // clip.shape[1]) if clip.shape[1] <= _HEIGHT else _HEIGHT / clip.shape[1]
    factor = min(factor, _STRIP_WIDTH / row.width)
    size = (max(1, round(row.width * factor)), max(1, round(row.height * factor)))
    return row.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX)


def _empty_tile() -> Image.Image:
    tile = Image.new("RGB", _NO_VIDEO, _PALE)
    middle = (_NO_VIDEO[0] / 2, _NO_VIDEO[1] / 2)
    ImageDraw.Draw(tile).text(middle, "no video", fill=_DARK, anchor="mm", font=ImageFont.load_default(size=11))
    return tile


def _wrap(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The lines of a label, each broken to about ``width`` pixels; no more than fit."""
    lines: list[str] = []
    for text in label.split("\n"):
        letter = font.getlength(text) / max(1, len(text))
        left = max(1, _LINES[1] - len(lines))
        lines += textwrap.wrap(text, max(10, int(width / max(letter, 1))), max_lines=left, placeholder=" ...")
    return lines[: _LINES[1]]


def contact_sheet(
    clips: Sequence[Video | None],
    labels: Sequence[str],
    columns: int | None = None,
    kept: Sequence[bool] | None = None,
) -> Picture:
    """Draw clips (uint8 [T, H, W, 3], of any sizes) as labelled strips, ``columns`` side by side or as many as fit on a
    page, three at most. A clip that is ``None`` gets a grey tile.

    A label has up to three lines, and is cut there. ``kept`` gives a strip a green border where true and a red one
    where false; without it borders are grey.
    """
    if len(clips) != len(labels) or not clips:
        raise ValueError(f"need as many labels as clips, and at least one: got {len(labels)} and {len(clips)}")
    strips = [_strip(clip) for clip in clips]
    width = max(strip.width for strip in strips) + 2 * (_BORDER + _GAP)
    font = ImageFont.load_default(size=11)
    texts = [_wrap(label, width - 3 * _GAP, font) for label in labels]
    lines = max(_LINES[0], *(len(text) for text in texts))
    height = max(strip.height for strip in strips) + 2 * (_BORDER + _GAP) + lines * _LINE
    columns = columns or max(1, min(3, _SHEET_WIDTH // width))
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (width * min(columns, len(strips)), height * rows), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (strip, text) in enumerate(zip(strips, texts, strict=True)):
        left, top = number % columns * width + _GAP, number // columns * height + _GAP
        color = _GREY if kept is None else _GREEN if kept[number] else _RED
        right, bottom = left + strip.width + 2 * _BORDER - 1, top + strip.height + 2 * _BORDER - 1
        draw.rectangle((left, top, right, bottom), fill=color)
        sheet.paste(strip, (left + _BORDER, top + _BORDER))
        for line, words in enumerate(text):
            draw.text((left, top + strip.height + 2 * _BORDER + line * _LINE), words, fill="black", font=font)
    return np.asarray(sheet)


def save_sheet(picture: Picture, path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    with replacing(path) as part:
        Image.fromarray(picture).save(part, format="png")
