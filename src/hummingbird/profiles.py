"""Profiles: the complete parameter sets in ``profiles/``, one of which ``params.yaml`` usually is a copy of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hummingbird.errors import UserError, did_you_mean
from hummingbird.files import replacing
from hummingbird.params import Params, load_params

ACTIVE = "params.yaml"


def profile_names(root: Path = Path()) -> list[str]:
    """Names of all profiles."""
    return sorted(path.stem for path in (root / "profiles").glob("*.yaml"))


def find_profile(name: str, root: Path = Path()) -> Path:
    """The file of a profile.

    Raises:
        UserError: there is no such profile.
    """
    known = profile_names(root)
    if name not in known:
        hint = did_you_mean(name, known) if known else "profiles/ has none"
        raise UserError(f"no profile {name!r}; {hint}", "see all: hummingbird profile list")
    return root / "profiles" / f"{name}.yaml"


def describe(path: Path) -> str:
    """First sentence of the comment at the head of a parameter file."""
    words: list[str] = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        words += line.lstrip("# ").split()
    return " ".join(words).split(". ")[0].rstrip(".")


def active_profile(root: Path = Path()) -> str | None:
    """Name of the profile that ``params.yaml`` equals, in its values; None if it equals none of them.

    Raises:
        UserError: ``params.yaml`` is missing or not valid.
    """
    active = load_params(root / ACTIVE)
    return next((name for name in profile_names(root) if _is(root / "profiles" / f"{name}.yaml", active)), None)


def _is(path: Path, params: Params) -> bool:
    try:
        return load_params(path) == params
    except UserError:  # a broken profile is no profile
        return False


def use_profile(name: str, root: Path = Path(), *, force: bool = False) -> None:
    """Make ``profiles/NAME.yaml`` the active parameter set.

    Raises:
        UserError: there is no such profile, or it is not a valid parameter set; or ``params.yaml`` has values that no
            profile holds, and would be lost (unless ``force``).
    """
    chosen = find_profile(name, root)
    load_params(chosen)
    if (root / ACTIVE).exists() and not force and not _is_saved(root):
        raise UserError(
            f"{ACTIVE} has edits that no profile holds; they would be lost",
            f"keep them (cp {ACTIVE} profiles/NAME.yaml), or drop them: hummingbird profile use {name} --force",
        )
    with replacing(root / ACTIVE) as part:
        shutil.copyfile(chosen, part)


def _is_saved(root: Path) -> bool:
    try:
        return active_profile(root) is not None
    except UserError:  # not valid: somebody is at work on it
        return False


def checkpoint_names(root: Path = Path()) -> list[str]:
    """The public checkpoints that ``params.yaml`` names.

    Raises:
        UserError: it names none.
    """
    chosen = load_params(root / ACTIVE).foundation.checkpoints
    if chosen is None:
        raise UserError(
            f"{ACTIVE} names no public checkpoints: its models come from elsewhere",
            "give names (hummingbird checkpoints list), or choose a profile first: hummingbird profile list",
        )
    return chosen.names


def difference(first: Params, second: Params) -> list[tuple[str, Any, Any]]:
    """Dotted name and both values of every parameter that differs; a missing section reads as None."""
    one, other = _flat(first.model_dump(mode="json")), _flat(second.model_dump(mode="json"))
    names = [*one, *(name for name in other if name not in one)]
    return [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def show_list(root: Path = Path()) -> None:
    """Print the profiles, with the active one marked."""
    try:
        active = active_profile(root)
        note = "" if active else f"{ACTIVE} has edits that no profile holds."
    except UserError as error:
        active, note = None, error.problem
    table = Table(title="profiles", title_justify="left")
    for column in ("", "name", "what it is"):
        table.add_column(column, no_wrap=column == "name")
    for name in profile_names(root):
        mark = "active" if name == active else ""
        table.add_row(mark, name, escape(describe(root / "profiles" / f"{name}.yaml")))
    console = Console()
    console.print(table)
    if note:
        console.print(escape(note))


def show_difference(first: str, second: str | None, root: Path = Path()) -> None:
    """Print what differs between two profiles, or between ``params.yaml`` (``second`` None) and one."""
    paths = {first: find_profile(first, root)}
    paths |= {second: find_profile(second, root)} if second else {ACTIVE: root / ACTIVE}
    loaded = [load_params(path) for path in paths.values()]
    changed = difference(loaded[0], loaded[-1])
    console = Console()
    if not changed:
        console.print(f"{' and '.join(paths)} are the same")
        return
    table = Table(title=f"{len(changed)} parameters differ", title_justify="left")
    for column in ("parameter", *paths):
        table.add_column(column)
    for name, *values in changed:
        table.add_row(name, *("-" if value is None else escape(str(value)) for value in values))
    console.print(table)
