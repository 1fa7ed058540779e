"""The table of public checkpoints, ``catalogue.yaml``: what each is, where it comes from and under which licence."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hummingbird.errors import UserError, did_you_mean

TABLE = Path(__file__).with_name("catalogue.yaml")
SCHEMES = ("hf://", "s3://", "https://", "http://")


def _is_inside(path: str) -> str:
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"{path!r} must be a path below the checkpoint's folder")
    return path


def _is_address(address: str) -> str:
    if not address.startswith(SCHEMES):
        raise ValueError(f"{address!r} must begin with one of {', '.join(SCHEMES)}")
    return address


class Row(BaseModel):
    """Base of the table's rows: an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Licence(Row):
    """Under which terms a checkpoint may be used. ``permissive`` only where the terms are known to be so."""

    name: str
    url: str | None = None
    permissive: bool = False


class File(Row):
    """One file. ``bytes`` and ``sha256`` are None where nobody has stated them: the file is *unpinned*."""

    path: Annotated[str, AfterValidator(_is_inside)]
    bytes: Annotated[int, Field(ge=1)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class Checkpoint(Row):
    """One public checkpoint: its files by name, or by pattern where a hub repository is the list of them.

    ``sources`` are addresses of folders, tried in turn: ``hf://owner/repository@revision``, ``s3://bucket/prefix/``,
    ``https://host/path/``. None of them: no address is known, and the user has to hand the file in.
    """

    what: str
    licence: Licence
    sources: tuple[Annotated[str, AfterValidator(_is_address)], ...] = ()
    files: tuple[File, ...] = ()
    patterns: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _has_files_or_patterns(self) -> Self:
        if bool(self.files) == bool(self.patterns):
            raise ValueError("give either files or patterns")
        if self.patterns and not all(source.startswith("hf://") for source in self.sources):
            raise ValueError("patterns need a hub repository (hf://) to be matched in")
        return self

    @property
    def bytes(self) -> int | None:
        """Size of all files, if each is known."""
        sizes = [file.bytes for file in self.files]
        return sum(size for size in sizes if size) if sizes and all(sizes) else None

    @property
    def pinned(self) -> bool:
        """Whether the table knows the sha256 of every file."""
        return bool(self.files) and all(file.sha256 for file in self.files)

    def matches(self, path: str) -> bool:
        """Whether a pattern names ``path``; one without a slash names no file of a subfolder."""
        return any(fnmatchcase(path, it) and path.count("/") == it.count("/") for it in self.patterns)


Catalogue = dict[str, Checkpoint]


def load_catalogue(path: Path = TABLE) -> Catalogue:
    """Read and validate a table.

    Raises:
        UserError: the file is missing, is not YAML, or a row of it is wrong.
    """
    try:
        rows = yaml.safe_load(path.read_text())
        return {str(name): Checkpoint.model_validate(row) for name, row in (rows or {}).items()}
    except (OSError, yaml.YAMLError, ValidationError, AttributeError) as error:
        raise UserError(f"{path} is no table of checkpoints: {error}", "mend the row named above") from error


@cache
def catalogue() -> Catalogue:
    """The table that comes with the program."""
    return load_catalogue()


def choose(names: Iterable[str], table: Catalogue) -> Catalogue:
    """The rows called ``names``, in their order.

    Raises:
        UserError: there is no such row.
    """
    chosen = {}
    for name in names:
        if name not in table:
            raise UserError(
                f"no checkpoint {name!r}; {did_you_mean(name, table)}", "see all: hummingbird checkpoints list"
            )
        chosen[name] = table[name]
    return chosen
