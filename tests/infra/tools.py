"""Checkers that may be missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program beside this Python or on PATH; skip the test where there is none."""
    beside = Path(sys.executable).parent / name
    program = str(beside) if beside.exists() else shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed; infra/README.md says where it comes from")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


def finds_nothing(name: str, *arguments: str | Path) -> bool:
    """Whether a checker is content; what it is not content with is printed."""
    done = run_tool(name, *arguments)
    print(done.stdout, done.stderr)
    return done.returncode == 0
