"""Videos and pictures as data URIs, so that the page is one file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from evaluation.report.formats import count
from hummingbird.layout import Layout

COLUMNS = {
    "real_clips": "real clip",
    "teacher": "teacher",
    "pruned": "pruned",
    "stage1": "stage 1",
    "stage2": "stage 2",
    "reneg": "ReNeg",
}
_SHEET_WIDTH = 1400  # pixels; sheets are scaled down to it
_QUALITY = 82  # of WebP


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet: data URI, size in pixels and what it shows."""

    uri: str
    width: int
    height: int
    text: str


def data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def video_table(layout: Layout, vbench: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row per shown prompt: ``prompt``, ``seed`` and ``videos``, a data URI (or ``None``) for each of COLUMNS."""
    rows = []
    for shown in (vbench or {}).get("shown", []):
        paths = [layout.vbench / "samples" / name / f"{shown['index']}.mp4" for name in COLUMNS]
        videos = [data_uri(path.read_bytes(), "video/mp4") if path.is_file() else None for path in paths]
        rows.append({"prompt": shown["prompt"], "seed": shown["seed"], "videos": videos})
    return rows


def filter_sheets(layout: Layout) -> list[Sheet]:
    """What came in, and what each filter kept and dropped for each reason."""
    named = [(layout.sheets("download") / "raw.png", "Raw clips as they came in (green: usable)")]
    for stage, filter_ in (("vqa_filter", "quality filter"), ("motion_filter", "motion filter")):
        named.append((layout.sheets(stage) / "kept.png", f"Kept by the {filter_}, with their scores"))
        for path in sorted(layout.sheets(stage).glob("dropped_*.png")):
            reason = path.stem.removeprefix("dropped_").replace("_", " ")
            named.append((path, f"Dropped by the {filter_}: {reason}"))
    return [read_sheet(path, text) for path, text in named if path.is_file()]


def sample_sheets(layout: Layout, stage: str, most: int = 3) -> list[Sheet]:
    """Samples drawn while a stage trained: first, last, and some between them."""
    found = sorted(layout.sheets(stage).glob("step_*.png"))
    if len(found) > most:
        found = [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]
    return [read_sheet(path, f"Samples after {count(int(path.stem.removeprefix('step_')))} steps") for path in found]


def read_sheet(path: Path, text: str) -> Sheet:
    """A contact sheet, scaled down where it is large and compressed."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.width > _SHEET_WIDTH:
        size = (_SHEET_WIDTH, round(picture.height * _SHEET_WIDTH / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=_QUALITY)
    return Sheet(data_uri(buffer.getvalue(), "image/webp"), picture.width, picture.height, text)
