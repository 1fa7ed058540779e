"""What a stage depends on, as declared in ``dvc.yaml``: fingerprints of it before and after the stage ran.

DVC hashes dependencies *after* the command, so a file edited while a stage runs is recorded as the one that made the
output (DVC issue 11058). The runner compares two snapshots and fails instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from hummingbird.errors import UserError, did_you_mean

Snapshot = dict[str, str]
SMALL = 1 << 20  # bytes; anything larger is told by size and time of change, hashing it twice would cost minutes


def declared(root: Path, stage: str) -> dict[str, Any]:
    """The entry of ``stage`` in ``dvc.yaml``.

    Raises:
        UserError: there is no ``dvc.yaml``, or no such stage in it.
    """
    path = root / "dvc.yaml"
    if not path.is_file():
        raise UserError(f"no {path}", "run from the project folder, or restore it: git checkout dvc.yaml")
    stages = stages_in(path)
    if stage not in stages:
        raise UserError(f"dvc.yaml has no stage {stage!r}; {did_you_mean(stage, stages)}", "hummingbird stage --help")
    entry: dict[str, Any] = stages[stage]
    return entry


def stages_in(path: Path) -> dict[str, Any]:
    """The stages in ``dvc.yaml`` or ``dvc.lock``; none if there is no such file."""
    if not path.is_file():
        return {}
    stat = path.stat()
    return _stages(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _stages(path: Path, changed_at: int, size: int) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the lock has thousands of lines, seconds of Python
    stages: dict[str, Any] = (yaml.load(path.read_text(), Loader=loader) or {}).get("stages", {})
    return stages


def paths(entries: Iterable[str | Mapping[str, Any]]) -> list[str]:
    """Paths of a ``deps`` or ``outs`` list, whose items are strings or one-key mappings with options."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def take(root: Path, stage: str, params: Mapping[str, Any]) -> Snapshot:
    """Fingerprint every file below the declared dependencies of ``stage``, and ``params``, the values it was given.

    Small files are hashed (SHA-256), larger ones are told by size and modification time. Missing ones are an error.

    Raises:
        UserError: a declared dependency does not exist.
    """
    found = {"params.yaml": hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()}
    for path in paths(declared(root, stage).get("deps", [])):
        where = root / path
        if not where.exists():
            raise UserError(f"stage {stage} needs {path}, which does not exist", f"dvc repro {stage}")
        for file in sorted(where.rglob("*")) if where.is_dir() else [where]:
            if file.is_file() and "__pycache__" not in file.parts:
                found[file.relative_to(root).as_posix()] = _fingerprint(file)
    return found


def _fingerprint(file: Path) -> str:
    stat = file.stat()
    if stat.st_size > SMALL:
        return f"{stat.st_size} bytes, changed at {stat.st_mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """Names of the files that differ between two snapshots, or are in one only."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def stage_hash(root: Path, stage: str, seen: Snapshot) -> str:
    """One hash of all that ``stage`` depends on: outputs of earlier stages by their hash in ``dvc.lock``, the rest by
    the fingerprints in ``seen``. Two runs of equal hash had equal inputs."""
    stages = stages_in(root / "dvc.lock")
    made = {out["path"]: out.get("md5", "") for entry in stages.values() for out in entry.get("outs", [])}
    known = {path: made[path] for path in paths(declared(root, stage).get("deps", [])) if path in made}
    rest = {name: value for name, value in seen.items() if not any(name.startswith(path) for path in known)}
    return hashlib.sha256(json.dumps([known, rest], sort_keys=True).encode()).hexdigest()
