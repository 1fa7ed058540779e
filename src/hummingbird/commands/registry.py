"""``hummingbird register``, ``promote``, ``rollback`` and ``hummingbird registry``."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hummingbird.commands.terminal import wide_console

if TYPE_CHECKING:
    from hummingbird.ops.registry.gates import Verdict
    from hummingbird.params import Promotion

app = typer.Typer(help="The registered models: versions, aliases, and who moved them.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", help="The registered model.")]
Alias = Annotated[str, typer.Option("--to", help="The alias to move; see promotion.aliases in params.yaml.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for those who read the log.")]
_ONLY_JSON = ("run",)  # too wide for a terminal
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Keep(StrEnum):
    """Which of the two is right."""

    LEDGER = "ledger"
    ALIAS = "alias"


def register(
    model: Annotated[str, typer.Option(help="stage2 or stage1.")] = "stage2", name: Name = "hummingbird"
) -> None:
    """Make a model of the chain a new version in the registry, with the alias candidate.

    With it go its files, the code that runs it, and what the gates ask for: how good, how fast, how it was made.
    """
    from hummingbird.layout import Layout
    from hummingbird.ops.registry import gates
    from hummingbird.ops.registry.model import CANDIDATE
    from hummingbird.ops.registry.model import register as run
    from hummingbird.ops.registry.server import Registry

    rules = _rules()
    made = run(Registry(Path(), name), Layout(), model)
    typer.echo(f"{name} version {made.version} ({CANDIDATE}): {model}, run {made.run_id}")
    lacking = gates.failing(gates.judge(made.evidence, None, rules))
    for verdict in lacking:
        typer.secho(f"no gate will let it pass while {verdict.text}", fg="yellow", err=True)
    if lacking:
        typer.echo("mend that, then register again")
    else:
        typer.echo(f"hummingbird promote {made.version} --to {rules.aliases[0]} --why TEXT")


def promote(
    version: Annotated[int, typer.Argument(help="The version, as in `hummingbird registry list`.")],
    to: Alias = "champion",
    why: Why = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the gates say.")] = False,
    name: Name = "hummingbird",
) -> None:
    """Give an alias to a version, if it is not worse than the one that has it, fast enough, and can be made again."""
    from hummingbird.ops.registry import promotion
    from hummingbird.ops.registry.gates import failing
    from hummingbird.ops.registry.server import Registry

    registry, rules = Registry(Path(), name), _rules()
    if dry_run:
        outcome = promotion.examine(registry, version, to, rules)
        _show(outcome.verdicts)
        raise typer.Exit(1 if failing(outcome.verdicts) else 0)
    outcome = promotion.promote(registry, version, to, why, rules)
    _show(outcome.verdicts)
    before = f"; before: version {outcome.before}" if outcome.before else ""
    typer.echo(f"version {version} is {to} now{before}")


def rollback(to: Alias = "champion", why: Why = "", name: Name = "hummingbird") -> None:
    """Give an alias back to the version that had it before."""
    from hummingbird.ops.registry import promotion
    from hummingbird.ops.registry.server import Registry

    outcome = promotion.rollback(Registry(Path(), name), to, why, _rules())
    typer.echo(f"version {outcome.version} is {to} again; before: version {outcome.before}")


@app.command("list")
def registry_list(as_json: Json = False, name: Name = "hummingbird") -> None:
    """Show the versions with their aliases and figures. Finishes a promotion whose command died."""
    from hummingbird.ops.registry import tables
    from hummingbird.ops.registry.server import Registry

    rows, notes = tables.versions(Registry(Path(), name), _rules())
    _print(rows, as_json, f"{name}: versions")
    for note in notes:
        typer.secho(f"note: {note}", fg="yellow", err=True)


@app.command("log")
def registry_log(as_json: Json = False, name: Name = "hummingbird") -> None:
    """Show every promotion, refusal and rollback: what, who, when and why. Nothing is ever removed from it."""
    from hummingbird.ops.registry import tables
    from hummingbird.ops.registry.server import Registry

    _print(tables.log(Registry(Path(), name)), as_json, f"{name}: promotions")


@app.command("repair")
def registry_repair(
    alias: Annotated[str, typer.Argument(help="The alias that was moved by hand.")],
    keep: Annotated[Keep, typer.Option(help="ledger: move the alias back. alias: record that it was moved.")],
    why: Why = "",
    name: Name = "hummingbird",
) -> None:
    """Say what is right where an alias was moved past the log, in MLflow's own page."""
    from hummingbird.ops.registry import promotion
    from hummingbird.ops.registry.server import Registry

    registry = Registry(Path(), name)
    promotion.repair(registry, alias, keep.value, why, _rules())
    typer.echo(f"{alias} is version {registry.alias(alias)}, and the log says so")


def _rules() -> Promotion:
    from hummingbird.params import load_params

    return load_params().promotion


def _show(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        mark, colour = ("passed", "green") if verdict.passed else ("FAILED", "red")
        typer.secho(f"{mark}  {verdict.gate}: {verdict.text}", fg=colour)


def _print(rows: list[Any], as_json: bool, title: str) -> None:
    values = [asdict(row) for row in rows]
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    if not values:
        return typer.echo(f"{title}: none yet")
    table = Table(title=title, title_justify="left")
    columns = [column for column in values[0] if column not in _ONLY_JSON]
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in values:
        table.add_row(*("-" if row[column] in (None, "") else escape(str(row[column])) for column in columns))
    wide_console().print(table)
