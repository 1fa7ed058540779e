"""``hummingbird profile``."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Complete parameter sets, by model and hardware.", no_args_is_help=True)


@app.command("list")
def profile_list() -> None:
    """List the profiles, each with a line about it; the active one is marked."""
    from hummingbird.profiles import show_list

    show_list()


@app.command("show")
def profile_show(name: Annotated[str, typer.Argument(help="Name of a file in profiles/, without .yaml.")]) -> None:
    """Print a profile."""
    from hummingbird.profiles import find_profile

    typer.echo(find_profile(name).read_text(), nl=False)


@app.command("use")
def profile_use(
    name: Annotated[str, typer.Argument(help="Name of a file in profiles/, without .yaml.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite edits of params.yaml that no profile holds.")
    ] = False,
) -> None:
    """Make a profile the active parameter set: copy it to params.yaml."""
    from hummingbird.profiles import use_profile

    use_profile(name, force=force)
    typer.echo(f"params.yaml is now profile {name}")


@app.command("diff")
def profile_diff(
    first: Annotated[str, typer.Argument(help="Name of a profile.")],
    second: Annotated[str | None, typer.Argument(help="Name of another; none = params.yaml.")] = None,
) -> None:
    """Show which parameters differ between two profiles, or between params.yaml and one."""
    from hummingbird.profiles import show_difference

    show_difference(first, second)
