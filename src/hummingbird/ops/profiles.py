"""Profiles: complete parameter sets under ``profiles/``, named by model and hardware. ``params.yaml`` is the active one."""

from __future__ import annotations

from pathlib import Path

from hummingbird.data.files import replacing
from hummingbird.errors import UserError, did_you_mean
from hummingbird.params import Params, load_params


def profile_names(root: Path = Path()) -> list[str]:
    """Names of the profiles of the project in ``root``, sorted."""
    return sorted(path.stem for path in (root / "profiles").glob("*.yaml"))


def use_profile(root: Path, name: str) -> Params:
    """Make profile ``name`` the active one: check it, then put a copy of its file in the place of ``params.yaml``.

    Raises:
        UserError: there is no such profile, it is not a valid parameter set, or ``params.yaml`` cannot be written.
    """
    names = profile_names(root)
    if name not in names:
        hint = did_you_mean(name, names) if names else "there are none"
        raise UserError(f"no profile {name!r}; {hint}", f"name a file in {root / 'profiles'}, without .yaml")
    source = root / "profiles" / f"{name}.yaml"
    params = load_params(source)
    with replacing(root / "params.yaml") as part:
        part.write_bytes(source.read_bytes())
    return params
