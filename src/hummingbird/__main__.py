"""``python -m hummingbird``: the command line, for starters that take a module (torchrun)."""

from hummingbird.cli import app

app()
