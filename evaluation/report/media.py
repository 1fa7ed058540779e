"""Videos and pictures as data URIs, so that the page is one file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from evaluation.report.filters import Funnel
from evaluation.report.formats import count, words
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


FILTERS = {"download": "download", "vqa_filter": "quality filter", "motion_filter": "motion filter"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet: data URI, size in pixels, what it shows, and whether it is shown at once."""

    uri: str
    width: int
    height: int
    text: str
    open: bool = False


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


def filter_sheets(layout: Layout, funnel: Funnel | None) -> dict[str, list[Sheet]]:
    """What came in, and what the download and each filter kept and dropped for each reason, by their names; with
    counts from the funnel. What a filter dropped is shown at once."""
    found = {}
    for stage, name in FILTERS.items():
        step = next((step for step in funnel.steps if step.stage == stage), None) if funnel else None
        counts = step.out if step else {}
        kept = step.left if step else None
        named: list[tuple[str, str, int | None]] = [
            ("raw", "The crawl as it came (green: usable)", None),
            ("kept", f"Kept by the {name}, with scores", kept),
        ]
        paths = {path.stem: path for path in layout.sheets(stage).glob("*.png")}
        reasons = {stem: stem.removeprefix("dropped_") for stem in paths if stem.startswith("dropped_")}
        for stem, reason in sorted(reasons.items(), key=lambda item: (-counts.get(item[1], 0), item)):
            named.append((stem, f"Dropped by the {name}: {words(reason)}", counts.get(reason)))
        found[name] = [
            read_sheet(paths[stem], f"{text}{_clips(clips)}", stage != "download" and stem in reasons)
            for stem, text, clips in named
            if stem in paths
        ]
    return {name: sheets for name, sheets in found.items() if sheets}


def _clips(number: int | None) -> str:
    return f" ({count(number)} clip{'s' * (number != 1)})" if number else ""


def sample_sheets(layout: Layout, stage: str, most: int = 3) -> list[Sheet]:
    """Samples drawn while a stage trained: first, last, and some between them."""
    found = sorted(layout.sheets(stage).glob("step_*.png"))
    if len(found) > most:
        found = [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]
    return [read_sheet(path, f"Samples after {count(int(path.stem.removeprefix('step_')))} steps") for path in found]


def read_sheet(path: Path, text: str, is_open: bool = False) -> Sheet:
    """A contact sheet, scaled down where it is large and compressed."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.width > _SHEET_WIDTH:
        size = (_SHEET_WIDTH, round(picture.height * _SHEET_WIDTH / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=_QUALITY)
    return Sheet(data_uri(buffer.getvalue(), "image/webp"), picture.width, picture.height, text, is_open)
