"""``hummingbird lineage``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hummingbird.commands.terminal import wide_console

if TYPE_CHECKING:
    from rich.tree import Tree

    from hummingbird.ops.lineage import Link


def lineage(
    subject: Annotated[
        str, typer.Argument(metavar="MODEL_VERSION|RUN|FILE.mp4", help="3, champion or NAME/3; a run's id; a video.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the chain as JSON.")] = False,
    restore: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check out code, parameters, data and models as they were.")
    ] = None,
    models_only: Annotated[
        bool, typer.Option("--models-only", help="With --restore: only the models that were used, no data.")
    ] = False,
) -> None:
    """Show where a video, a model version or a run comes from, back to the commit and the source of the data.

    What cannot be found is shown as missing, with the reason.
    """
    from hummingbird.ops.lineage import trace

    chain = trace(subject, Path())
    if as_json:
        typer.echo(json.dumps(asdict(chain.link), indent=2))
    else:
        wide_console().print(_tree(chain.link))
    if restore is not None:
        from hummingbird.ops.restore import restore as run

        made = run(chain, restore, models_only=models_only)
        typer.echo(f"{restore}: commit {made.commit}; {made.outputs} outputs from {made.source}", err=as_json)
        for note in made.notes:
            typer.secho(f"note: {note}", fg="yellow", err=True)
        if made.command:
            typer.echo(f"to make it again: {made.command}", err=as_json)


def _tree(link: Link, parent: Tree | None = None) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    label = Text.assemble((link.kind, "bold"), f" {link.name}")
    facts = ", ".join(f"{name} {_short(value)}" for name, value in link.facts.items() if value not in (None, [], {}))
    if facts:
        label.append(f"  {facts}", "dim")
    if link.missing:
        label.append(f"  missing: {link.missing}", "red")
    tree = parent.add(label) if parent else Tree(label)
    for below in link.below:
        _tree(below, tree)
    return tree


def _short(value: Any) -> str:
    """A value in a line: long mappings by their size, the JSON has them in full."""
    if isinstance(value, dict):
        text = json.dumps(value)
        return text if len(text) <= 200 else f"({len(value)} values)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
