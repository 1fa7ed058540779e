"""Pages about the gates: ``reports/data_docs``, one for each table, with every expectation in words and what was found,
and an index.

Great Expectations renders pages of its own, but they take Bootstrap, jQuery, Vega and fonts from six servers and are
bare without them; its templates can be replaced, but what it puts into them is written for these libraries, and every
run adds a folder. These are one file each, look like the report and need nothing else. A table that is checked again
replaces its page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evaluation.report.templates import render
from hummingbird.files import replacing, write_json
from hummingbird.ops.wording import Check

INDEX = "index.html"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Checked:
    """A table that was checked. ``holds``: what each column holds, in words; ``remark``: more on what went wrong."""

    table: str
    path: str
    rows: int
    time: str
    checks: list[Check]
    holds: dict[str, str] = field(default_factory=dict)
    remark: str = ""

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.met]


def write(folder: Path, checked: Checked, order: Sequence[str]) -> None:
    """Write the page of a table (and the same as JSON) and the index of all tables, which lists them in ``order``.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    write_json(folder / f"{checked.table}.json", asdict(checked))
    _write_page(folder / f"{checked.table}.html", "data_docs_table.html", checked=checked, columns=_columns(checked))
    found = [_read(folder / f"{table}.json") for table in order]
    _write_page(folder / INDEX, "data_docs_index.html", tables=[it for it in found if it is not None])


def _columns(checked: Checked) -> dict[str, list[Check]]:
    """The expectations by what they are about."""
    columns: dict[str, list[Check]] = {}
    for check in checked.checks:
        columns.setdefault(check.column, []).append(check)
    return columns


def _read(path: Path) -> Checked | None:
    """What was written for a table, if it was and is whole."""
    try:
        values: Mapping[str, Any] = json.loads(path.read_text())
        return Checked(**{**values, "checks": [Check(**check) for check in values["checks"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_page(path: Path, template: str, **values: Any) -> None:
    page = render(template, _HERE, **values)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
