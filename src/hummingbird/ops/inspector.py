"""Runs the gates in a process of their own.

Great Expectations takes ten seconds of one core to import. In its own process it does that while a stage imports torch,
on another core, and its memory is not the stage's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops import gates


class Inspector:
    """Checks tables of the project in ``layout`` on request; as a context manager, since its process is started early
    and serves every check."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__, str(self.layout.root)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # it holds nothing: what it writes, the next check writes again
            self._process.communicate()

    def check(self, table_of: str) -> None:
        """Check the table that a stage wrote. Raises as :func:`hummingbird.ops.gates.check`."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        try:
            print(table_of, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the process that checks tables ended with status {self._process.wait()}; see above")
        if failure := json.loads(answer):
            raise UserError(failure["problem"], failure["next_step"])


def main() -> None:
    """Answer each stage's name on standard input with a line of JSON, until the parent closes it or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not pass for an answer
    gates.prepare()
    layout = Layout(Path(sys.argv[1]))
    for line in sys.stdin:
        failure = {}
        try:
            gates.check(line.strip(), layout)
        except UserError as error:
            failure = {"problem": error.problem, "next_step": error.next_step}
        print(json.dumps(failure), file=answers, flush=True)


if __name__ == "__main__":
    main()
