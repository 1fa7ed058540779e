"""Which weights and which code are at work: what a video says of itself, so that it can be made again.

Weights are named by the outputs of the pipeline that they are (``artifacts/stage2``) and by the hash that DVC gives
these, computed from the files that are there: ``dvc.lock`` may speak of older ones.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hummingbird.files import read_json, write_json

WEIGHTS = {  # model of the chain -> the outputs it is loaded from
    "teacher": ("artifacts/foundation",),
    "pruned": ("artifacts/stage1",),
    "stage1": ("artifacts/stage1",),
    "stage2": ("artifacts/stage2",),
    "reneg": ("artifacts/foundation", "artifacts/reneg"),
}
MADE_BY_RUNS = ("reports", "dvc.lock")  # every run writes them: a change of them says nothing about the code
_IGNORED = (".pyc", ".part")  # .dvcignore
_MEMORY = ".work/md5.json"  # hashes of files by size, time of change and inode, as DVC keeps them
_BLOCK = 1 << 22


def weights(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Hash of each of the ``paths`` below ``root``; what lies in an output of the pipeline stands for all of that."""
    outputs = {output for made in WEIGHTS.values() for output in made}
    whole = {next((it for it in outputs if Path(path).is_relative_to(it)), path) for path in paths}
    return {path: content_md5(root / path, root) for path in sorted(whole) if (root / path).exists()}


def content_md5(path: Path, root: Path) -> str:
    """The MD5 of a file, or of a folder as DVC computes it: of the list of its files and their MD5s, with ``.dir``.

    Hashes are remembered in ``root/.work``, so that large files are read once.
    """
    memory = read_json(root / _MEMORY)
    before = dict(memory)
    if path.is_file():
        digest = _file_md5(path, memory)
    else:
        files = sorted(file for file in path.rglob("*") if file.is_file() and not _is_ignored(file))
        named = {file.relative_to(path).as_posix(): _file_md5(file, memory) for file in files}
        listed = [{"md5": named[name], "relpath": name} for name in sorted(named)]
        digest = f"{_md5(json.dumps(listed, sort_keys=True).encode())}.dir"
    if memory != before:
        write_json(root / _MEMORY, memory)
    return digest


def code(root: Path) -> dict[str, Any]:
    """Commit of the checkout in ``root``, and whether tracked files, apart from those that runs write, differ from it.
    Empty outside a checkout."""
    commit = git(root, "rev-parse", "HEAD")
    made = [f":(exclude){path}" for path in MADE_BY_RUNS]
    changes = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *made)
    return {} if commit is None or changes is None else {"commit": commit, "dirty": bool(changes)}


def git(root: Path, *words: str) -> str | None:
    """What git says, or None where it says no, or there is none."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _is_ignored(file: Path) -> bool:
    return file.suffix in _IGNORED or "__pycache__" in file.parts


def _file_md5(file: Path, memory: dict[str, Any]) -> str:
    stat = file.stat()
    key, stamp = str(file.resolve()), [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    known = memory.get(key)
    if known and known[:-1] == stamp:
        return str(known[-1])
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    memory[key] = [*stamp, digest.hexdigest()]
    return digest.hexdigest()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
