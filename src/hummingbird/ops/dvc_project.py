"""What of DVC more than one part needs: its settings, and its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hummingbird.errors import UserError
from hummingbird.ops.server import shown


def settings(root: Path) -> Any:
    """DVC's own settings of the project in ``root`` (``dvc.config.Config``), with what is not committed of them; its
    paths are absolute.

    Raises:
        UserError: they cannot be read.
    """
    from dvc.config import Config, ConfigError

    try:
        return Config(str((root / ".dvc").absolute()))
    except ConfigError as error:
        raise UserError(
            f"DVC's settings in {root / '.dvc'} cannot be read: {error}", "see: dvc config --list"
        ) from error


def default_remote(root: Path) -> str | None:
    """Name of the remote that is used unless another is asked for; None if there is none."""
    name: str | None = settings(root)["core"].get("remote")
    return name


def remote_url(root: Path) -> str | None:
    """Address of the default remote, less credentials; None if there is none."""
    found = settings(root)
    url: str | None = found["remote"].get(found["core"].get("remote"), {}).get("url")
    return shown(url) if url else None


def cache(root: Path) -> Path:
    """The folder of the cache."""
    return Path(settings(root)["cache"].get("dir") or root / ".dvc/cache")


@contextmanager
def explained() -> Iterator[None]:
    """Turn what DVC raises into a :class:`UserError`."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except LockError as error:
        raise UserError(
            "another DVC process is at work in this folder", "wait until it is done, then run again"
        ) from error
    except DvcException as error:
        raise UserError(
            f"DVC cannot read the pipeline: {error}", "run from the project folder; see: dvc status"
        ) from error
