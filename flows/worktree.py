"""A folder of its own for a run: a git worktree of what is committed, with the DVC cache of the project.

Uncommitted edits do not reach it, later ones neither, and the parameters of one run do not stay in the user's file. Its
name is a hash of the commit and the parameters, so the same run again goes on where it was. What it makes is committed
to a branch of the same name: ``git merge BRANCH && dvc checkout`` makes it the user's own.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flows.settings import Settings
from hummingbird.errors import UserError, did_you_mean
from hummingbird.ops.dvc_project import explained
from hummingbird.params import Params, dump_params, load_params, with_overrides
from hummingbird.profiles import ACTIVE, profile_names

FOLDER = ".work/worktrees"
_WHO = ["-c", "user.name=hummingbird flow", "-c", "user.email=flow@localhost", "-c", "commit.gpgsign=false"]
_NO_HOOKS = ["-c", "core.hooksPath=/dev/null"]  # `dvc install` puts one there that would check out everything
_RESULTS = ["dvc.lock", "reports", ACTIVE]


@dataclass(frozen=True)
class Apart:
    """What a worktree is of: a commit of the project in ``root``, with the parameters of a run."""

    root: Path
    commit: str
    params: Params

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        digest = hashlib.sha256(dump_params(self.params).encode()).hexdigest()
        return self.root / FOLDER / f"{self.commit[:8]}-{digest[:8]}"


def describe(root: Path, settings: Settings) -> Apart:
    """The worktree for a run with ``settings``: the last commit of ``root``. Nothing is made.

    Raises:
        UserError: ``root`` is no git repository or has no commit; the profile or an override is wrong.
    """
    commit = _git(root, "rev-parse", "HEAD")
    path = f"profiles/{_profile(root, commit, settings.profile)}.yaml" if settings.profile else ACTIVE
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(path).name
        copy.write_text(_git(root, "show", f"{commit}:./{path}") + "\n")
        params = load_params(copy)
    return Apart(root, commit, with_overrides(params, settings.overrides or {}))


def prepare(apart: Apart) -> Path:
    """Make the worktree if it is not there yet, with its parameters committed on top, and with the outputs that
    ``dvc.lock`` names and the cache has. No run may be at work in it.

    Raises:
        UserError: git or DVC failed.
    """
    root, commit, folder = apart.root, apart.commit, apart.folder
    if not (folder / "dvc.yaml").is_file():
        _git(root, "worktree", "prune")
        known = _git(root, "branch", "--list", branch(folder))
        _git(root, "worktree", "add", str(folder), *([branch(folder)] if known else ["-b", branch(folder), commit]))
    if load_params(folder / ACTIVE) != apart.params:
        (folder / ACTIVE).write_text(dump_params(apart.params))
        commit_all(folder, f"Parameters of a run on {commit[:8]}")
    _fill(root, folder)
    return folder


def branch(folder: Path) -> str:
    """The git branch of a worktree."""
    return f"flow/{folder.name}"


def commit_all(folder: Path, message: str) -> bool:
    """Commit parameters and results on the branch of a worktree. Returns whether there was anything to commit."""
    _git(folder, "add", "--", *(path for path in _RESULTS if (folder / path).exists()))
    if not _git(folder, "diff", "--cached", "--name-only"):
        return False
    _git(folder, *_WHO, "commit", "--quiet", "-m", message)
    return True


def how_to_adopt(folder: Path) -> str:
    """The commands that make the results of a worktree those of the user's own folder."""
    return f"git merge {branch(folder)} && dvc checkout"


def _profile(root: Path, commit: str, name: str) -> str:
    """The name of a profile, once it is known that the commit has it."""
    listed = _git(root, "ls-tree", "--name-only", commit, "profiles/").splitlines()
    known = [Path(path).stem for path in listed if path.endswith(".yaml")]
    if name in known:
        return name
    if name in profile_names(root):
        raise UserError(
            f"profile {name!r} is not in the last commit, which is all that a run of its own folder knows",
            f"commit it: git add profiles/{name}.yaml && git commit",
        )
    hint = did_you_mean(name, known) if known else "profiles/ has none"
    raise UserError(f"no profile {name!r}; {hint}", "see all: hummingbird profile list")


def _fill(root: Path, folder: Path) -> None:
    """Put the outputs in place that ``dvc.lock`` names and the project's cache has, by links: no second copy."""
    from dvc.repo import Repo

    logging.getLogger("dvc_data").setLevel(logging.ERROR)  # not a warning for each output that is still to be made
    with explained():
        with Repo(str(root)) as project, Repo(str(folder)) as made, made.config.edit("local") as config:
            config["cache"] = {"dir": project.cache.local_cache_dir, "type": "reflink,hardlink,symlink,copy"}
        with Repo(str(folder)) as made:
            made.checkout(force=True, allow_missing=True)


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *_NO_HOOKS, *words], capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"git {words[0]} failed in {root}: {done.stderr.strip() or done.stdout.strip()}",
            "a run with --clean or other values for parameters works on the last commit: make one, or run without",
        )
    return done.stdout.strip()
