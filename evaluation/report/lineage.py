"""Where a report comes from: commit, uncommitted changes, versions of what computed it, time."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("hummingbird", "torch", "diffusers", "transformers", "numpy", "polars", "dvc", "mlflow", "prefect")

#: Written by every run, so a change of them says nothing about the code.
_MADE_BY_RUNS = ("reports", "dvc.lock")


@dataclass(frozen=True, slots=True)
class Lineage:
    """``commit`` and ``dirty`` are ``None`` outside a git checkout; ``time`` is that of the report, in UTC."""

    commit: str | None
    dirty: bool | None
    time: str
    versions: dict[str, str]


def read_lineage(root: Path) -> Lineage:
    """The state of the checkout in ``root`` and of this environment."""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in _MADE_BY_RUNS))
    return Lineage(
        commit=commit,
        dirty=None if commit is None or changes is None else bool(changes),
        time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions={"python": platform.python_version(), **_versions()},
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, or ``None`` where there is no git, no checkout or no commit."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
