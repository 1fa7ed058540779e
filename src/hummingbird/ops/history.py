"""``dvc.lock`` through the history of the repository: which commit holds certain outputs, and what made them.

``dvc.lock`` says of every stage what it read (code, data, parameters) and what it made, by hash. Committed, it ties
these to the code. Nothing here changes anything.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hummingbird import provenance
from hummingbird.ops.dvc_project import cache

LOCK = "dvc.lock"
_CODE = ("src/", "evaluation/")
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Lock:
    """One ``dvc.lock``. ``commit`` is where it was committed (None = it is not yet), ``code`` the commit of the code
    that ran, which may be an earlier one."""

    root: Path
    commit: str | None
    code: str | None
    text: str

    @cached_property
    def stages(self) -> dict[str, Any]:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where it was built
        found: dict[str, Any] = (yaml.load(self.text, loader) or {}).get("stages", {})
        return found

    def outputs(self, stage: str) -> dict[str, str]:
        """Path -> hash of what ``stage`` made."""
        return {out["path"]: str(out.get("md5", "")) for out in self.stages[stage].get("outs", [])}

    def needs(self, stage: str) -> dict[str, str]:
        """Path -> hash of what ``stage`` read."""
        return {dep["path"]: str(dep.get("md5", "")) for dep in self.stages[stage].get("deps", [])}

    def params(self, stage: str) -> dict[str, Any]:
        """The parameters ``stage`` was given."""
        given: dict[str, Any] = self.stages[stage].get("params", {}).get("params.yaml", {})
        return given

    def maker(self, path: str) -> str | None:
        """The stage that made ``path``, or the output in which it lies."""
        for stage in self.stages:
            if any(Path(path).is_relative_to(out) for out in self.outputs(stage)):
                return stage
        return None

    def upstream(self, stage: str) -> list[str]:
        """``stage`` and all that it needs, each after what it needs itself."""
        order: list[str] = []

        def visit(name: str) -> None:
            for maker in sorted({it for path in self.needs(name) if (it := self.maker(path))} - {name}):
                if maker not in order:
                    visit(maker)
            if name not in order:
                order.append(name)

        visit(stage)
        return order

    def broken(self, stage: str) -> dict[str, tuple[str, str]]:
        """What ``stage`` read and is another today: path -> (hash as read, hash as made). It was not run since."""
        made = {path: md5 for it in self.stages for path, md5 in self.outputs(it).items()}
        return {path: (md5, made[path]) for path, md5 in self.needs(stage).items() if made.get(path, md5) != md5}

    def changed_code(self, stages: list[str]) -> list[str]:
        """Source files that are others in the commit ``code`` than those which ``stages`` ran."""
        wanted = {path: md5 for it in stages for path, md5 in self.needs(it).items() if path.startswith(_CODE)}
        if self.code is None:
            return []
        there = _blobs(self.root, self.code, list(wanted))
        return sorted(path for path, md5 in wanted.items() if _md5(there.get(path)) != md5)


def commit_id(said: object) -> str | None:
    """``said`` if it is the full id of a commit, else None. Videos and tags come from anywhere, and what begins with a
    dash would be an option to git."""
    return said if isinstance(said, str) and _COMMIT.fullmatch(said) else None


def locks(root: Path, texts: list[str], prefer: str | None = None) -> Iterator[Lock]:
    """Every ``dvc.lock`` that contains all of ``texts``: that of the commit ``prefer``, those of all commits from the
    oldest on, that of the working tree. ``prefer``, if it is a commit's id, is the code of each of them."""
    prefer = commit_id(prefer)
    seen: set[str] = set()
    order = [prefer] if prefer else []
    order += (provenance.git(root, "log", "--all", "--reverse", "--format=%H", "--", LOCK) or "").split()
    for commit in order:
        text = provenance.git(root, "show", "--end-of-options", f"{commit}:{LOCK}") or ""
        if commit not in seen and all(it in text for it in texts):
            seen.add(commit)
            yield Lock(root, commit, prefer or commit, text)
    text = (root / LOCK).read_text() if (root / LOCK).is_file() else ""
    if text and all(it in text for it in texts):
        yield Lock(root, None, prefer or provenance.git(root, "rev-parse", "HEAD"), text)


def with_outputs(root: Path, outputs: Mapping[str, str], prefer: str | None = None) -> Lock | None:
    """The ``dvc.lock`` whose stages made ``outputs`` (path -> hash)."""
    for lock in locks(root, sorted(outputs.values()), prefer) if outputs else ():
        made = {path: md5 for stage in lock.stages for path, md5 in lock.outputs(stage).items()}
        if outputs.items() <= made.items():
            return lock
    return None


def with_record(root: Path, stage: str, names: set[str], prefer: str | None = None) -> Lock | None:
    """The ``dvc.lock`` in which the outputs of ``stage`` are those of an MLflow run, given by its id and its key."""
    record = f"reports/runs/{stage}.json"
    pattern = re.compile(rf"- path: {re.escape(record)}\n(?: .*\n)*? +md5: (\w+)")
    known: dict[str, bool] = {}
    for lock in locks(root, [record], prefer):
        match = pattern.search(lock.text)
        md5 = match[1] if match else ""
        if md5 and md5 not in known:
            found = read_record(root, record, md5)
            known[md5] = bool(names & {found.get("run_id"), found.get("run_key")})
        if known.get(md5):
            return lock
    return None


def read_record(root: Path, path: str, md5: str) -> dict[str, Any]:
    """A small JSON file of hash ``md5``: from its place, else from DVC's cache. Empty if it is in neither."""
    data = read_output(root, path, md5)
    found = json.loads(data) if data else {}
    return found if isinstance(found, dict) else {}


def read_output(root: Path, path: str, md5: str) -> bytes | None:
    """Content of hash ``md5``: from ``path``, else from DVC's cache; None if it is in neither."""
    for file in _places(root, path, md5) if md5 else ():
        if file.is_file() and _md5(data := file.read_bytes()) == md5.removesuffix(".dir"):
            return data
    return None


def _places(root: Path, path: str, md5: str) -> Iterator[Path]:
    yield root / path
    yield cache(root) / "files/md5" / md5[:2] / md5[2:]


def _blobs(root: Path, commit: str, paths: list[str]) -> dict[str, bytes]:
    """Content of ``paths`` in ``commit``; what is not there is left out."""
    asked = "".join(f"{commit}:{path}\n" for path in paths).encode()
    done = subprocess.run(["git", "-C", str(root), "cat-file", "--batch"], input=asked, capture_output=True)
    found, rest = {}, done.stdout
    for path in paths:
        head, _, rest = rest.partition(b"\n")
        if head.endswith(b" missing"):
            continue
        size = int(head.split()[-1])
        found[path], rest = rest[:size], rest[size + 1 :]
    return found


def _md5(data: bytes | None) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest() if data is not None else ""
