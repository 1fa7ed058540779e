"""What a run of ``hummingbird curate`` is to do: its folder, and its parameters, from what the command line says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hummingbird.errors import UserError
from hummingbird.files import replacing
from hummingbird.layout import Layout
from hummingbird.params import Params, dump_params, load_params, with_overrides

STEPS = ("download", "measure", "vqa_filter", "motion_filter", "recaption", "encode")
FOLDER = Path("curated")
WORLD = "world"


@dataclass(frozen=True)
class Request:
    """The options of the command line. ``overrides``: texts like ``vqa_filter.min_overall=0.4``."""

    source: str | None = None
    format: str | None = None
    out: Path | None = None
    params: Path = Path("params.yaml")
    limit: int | None = None
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Setting:
    """Parameters and folder of a run; ``notes`` say what was set that nobody asked for."""

    params: Params
    layout: Layout
    notes: list[str] = field(default_factory=list)

    def check_folder(self) -> None:
        """Refuse to write over what a run of the same source has not made.

        Raises:
            UserError: the folder is a project, or holds something else or the result of another source.
        """
        root, source = self.layout.root, self.params.download.source
        if (root / "dvc.yaml").exists():
            raise UserError(f"{root} is a project, whose own data would be replaced", "name another folder with --out")
        path = root / "params.yaml"
        if not path.is_file():
            others = [entry.name for entry in root.iterdir() if entry.name != ".work"] if root.is_dir() else []
            if others:
                raise UserError(f"{root} holds something else: {others[0]}", "name a new folder with --out")
            return
        found = yaml.safe_load(path.read_text())
        earlier = found["download"]["source"] if isinstance(found, dict) and "download" in found else "another source"
        if earlier != source and Path(earlier).resolve() != Path(source).resolve():
            raise UserError(f"{root} holds what was made of {earlier}", "name another folder with --out")

    def save(self) -> None:
        """Write the parameters into the folder: they are a part of the result. Left alone where they are the same, so
        that their date tells which tables are newer.

        Raises:
            UserError: the folder cannot be written to.
        """
        path, text = self.layout.root / "params.yaml", dump_params(self.params)
        if not path.is_file() or path.read_text() != text:
            with replacing(path) as part:
                part.write_text(text)


def setting_of(request: Request, project: Path = Path()) -> Setting:
    """
    Raises:
        UserError: the parameter file or a value in ``overrides`` cannot be used, or there is no name for the folder.
    """
    params = load_params(request.params)
    named = dict(_parsed(text) for text in request.overrides)
    source = str(named.pop("download.source", None) or request.source or params.download.source)
    asked: dict[str, Any] = {"download.source": source}
    if source != params.download.source:  # these are of the other source
        asked |= {"download.format": None, "download.csv": None}
        asked |= {} if source == WORLD else {"download.clips": None}
    asked |= {"download.format": request.format} if request.format else {}
    asked |= {"download.clips": request.limit} if request.limit else {}
    notes, bars = _beyond_the_miniature(params, source, named)
    layout = Layout(request.out or FOLDER / _name_of(source), project)
    return Setting(with_overrides(params, {**asked, **bars, **named}), layout, notes)


def folder_of(request: Request) -> Path:
    """Where the result of a request lies.

    Raises:
        UserError: it names neither a folder nor a source, and several results are there, or none.
    """
    if request.out is not None:
        return request.out
    if request.source is not None:
        return FOLDER / _name_of(request.source)
    found = sorted(path.parent for path in FOLDER.glob("*/params.yaml"))
    if len(found) != 1:
        known = f": {', '.join(map(str, found))}" if found else ""
        raise UserError(
            f"{len(found) or 'no'} results of curation are in {FOLDER}{known}", "name the one you mean with --out"
        )
    return found[0]


def _beyond_the_miniature(
    params: Params, source: str, named: Mapping[str, Any]
) -> tuple[list[str], dict[str, float | None]]:
    """The miniature's models know its own world and nothing else: on other clips DOVER's scores decide nothing, where
    the command line does not name a bar."""
    if source == WORLD or params.foundation.mode == "checkpoints":
        return [], {}
    off = {f"vqa_filter.{bar}": 0.0 for bar in ("min_aesthetic", "min_technical", "min_overall")}
    bars = {name: value for name, value in {**off, "vqa_filter.keep_best": None}.items() if name not in named}
    notes = ["DOVER, the captioner and the autoencoder are the miniature's, trained on its generated world."]
    if len(bars) > len(off):
        notes.append(
            "DOVER's scores are recorded but drop nothing here; the signals and the motion filter decide. Set the bars "
            "yourself with --set vqa_filter.min_overall=0.3, or take real models: docs/checkpoints.md."
        )
    return notes, bars


def _parsed(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise UserError(f"--set {text!r} is not NAME=VALUE", "write for example --set vqa_filter.min_overall=0.4")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text!r}: the value is not YAML: {error}", "put it in quotation marks") from error


def _name_of(source: str) -> str:
    """A folder's name for a source: that of its file, folder, bucket or dataset."""
    stem = re.sub(r"^\w+://", "", source.rstrip("/"))
    last = Path(stem).resolve() if "://" not in source else Path(stem)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", last.stem if last.suffix == ".csv" else last.name).strip("-.")
    if not name:
        raise UserError(f"no folder can be named after the source {source!r}", "name one with --out")
    return name
