"""Errors of the stages, said as this command's user can act on them; and one run to a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.curate.steps import alone, in_other_words
from hummingbird.errors import UserError
from hummingbird.layout import Layout


@pytest.mark.parametrize(
    ("problem", "step", "expected"),
    [
        ("no scores", "measure again: dvc repro measure", "measure again: run the same command again"),
        ("no model", "make it: dvc repro foundation", "make it: dvc repro foundation"),
        ("kept none", "lower it in params.yaml", "lower it in params.yaml\n       (here: --set NAME=VALUE)"),
        (
            "fewer than curation.min_kept.download = 0.5 asks for; lower it in params.yaml",
            "then: dvc repro -f -s download",
            "then: run the same command again\n       (here: --set curation.min_kept.download=0.05)",
        ),
    ],
)
def test_next_steps_fit_the_command(problem: str, step: str, expected: str) -> None:
    with pytest.raises(UserError) as error, in_other_words():
        raise UserError(problem, step)
    assert (error.value.problem, error.value.next_step) == (problem, expected)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with alone(Layout(tmp_path)), pytest.raises(UserError, match="another run works"), alone(Layout(tmp_path)):
        pass
    with alone(Layout(tmp_path)):
        pass
