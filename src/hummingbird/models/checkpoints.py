"""Folders of checkpoints with a manifest: every file's sha256, checked before anything is taken for finished."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TypedDict

from hummingbird.errors import UserError
from hummingbird.files import replacing, replacing_folder
from hummingbird.runlog import RunLog

MANIFEST = "manifest.json"


class Entry(TypedDict):
    """What a manifest says of a file."""

    sha256: str
    bytes: int


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Record the sha256 and size of every file below ``folder`` (hidden ones and documents excepted)."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and _is_content(p.relative_to(folder)))
    entries = {str(p.relative_to(folder)): {"sha256": sha256(p), "bytes": p.stat().st_size} for p in files}
    with replacing(folder / MANIFEST) as part:
        part.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")


def verify_folder(folder: Path) -> dict[str, int]:
    """Check every file of the manifest; returns their sizes in bytes.

    Raises:
        UserError: the folder, the manifest or a file is missing, or a file's content differs.
    """
    sizes: dict[str, int] = {}
    for name, entry in _read_manifest(folder).items():
        _check(folder / name, entry)
        sizes[name] = entry["bytes"]
    return sizes


def fetch_folder(source: Path, target: Path, log: RunLog) -> dict[str, int]:
    """Copy the manifest's files from ``source`` to ``target``, each verified; the folder appears only when whole.

    Raises:
        UserError: see :func:`verify_folder`; or the disk is full.
    """
    manifest = _read_manifest(source)
    with replacing_folder(target) as folder:
        for name in log.progress(list(manifest), "fetching checkpoints", len(manifest)):
            _check(source / name, manifest[name])
            copy = folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, copy)
            _check(copy, manifest[name])
        shutil.copyfile(source / MANIFEST, folder / MANIFEST)
    return {name: entry["bytes"] for name, entry in manifest.items()}


def _is_content(relative: Path) -> bool:
    hidden = any(part.startswith(".") for part in relative.parts)
    return not hidden and relative.name != MANIFEST and relative.suffix != ".md"


def _read_manifest(folder: Path) -> dict[str, Entry]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise UserError(
            f"there is no checkpoint folder {folder}", "set foundation.source in params.yaml to one that exists"
        )
    if not path.is_file():
        raise UserError(
            f"{folder} has no {MANIFEST}", "restore it (git checkout), or make the models: hummingbird miniature train"
        )
    entries: dict[str, Entry] = json.loads(path.read_text())
    return entries


def _check(path: Path, entry: Entry) -> None:
    if not path.is_file():
        raise UserError(
            f"the checkpoint {path} is missing",
            "restore it (git checkout), or make the models: hummingbird miniature train",
        )
    found = sha256(path)
    if found != entry["sha256"]:
        raise UserError(
            f"{path} is not the file its manifest names: sha256 {found[:12]}, expected {entry['sha256'][:12]}",
            "it is damaged or incomplete; restore it (git checkout) and run again",
        )
