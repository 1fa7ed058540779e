"""What git says of the project folder, for the record of a run: the commit, and what of the code differs from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hummingbird import provenance

UNTRACKED_CODE = ("ls-files", "--others", "--exclude-standard", "--", "src", "evaluation", "flows")  # asked of git


def git_tags(root: Path) -> dict[str, str]:
    """MLflow tags: the commit, and whether tracked files differ from it or there is code that git does not know. Files
    that every run writes do not count: else all stages but the first of a run would be told to be of an unknown
    state."""
    code = provenance.code(root)
    if not code:
        return {"git.sha": "unknown"}
    return {
        "git.sha": code["commit"],
        "mlflow.source.git.commit": code["commit"],
        "git.dirty": str(bool(code["dirty"] or provenance.git(root, *UNTRACKED_CODE))).lower(),
    }


def uncommitted(root: Path, but_for: Iterable[str] = provenance.MADE_BY_RUNS) -> list[str] | None:
    """Tracked files that differ from the last commit, without those below ``but_for``; None outside a repository, and
    in one without a commit."""
    left_out = [f":(exclude){path}" for path in but_for]
    found = provenance.git(root, "diff", "--name-only", "HEAD", "--", ".", *left_out)
    return None if found is None else found.splitlines()
