"""The losses of every training method are what they were, and a change of one would be told."""

from __future__ import annotations

import pytest

from evaluation.golden_losses import METHODS, STEPS, as_table, deviations, read_golden, run_commit, run_methods
from hummingbird.errors import UserError

FIRST = 10  # of the committed steps: a series does not depend on its length


def test_every_method_repeats_its_committed_losses() -> None:
    golden = read_golden()
    assert {len(series) for series in golden["losses"].values()} == {STEPS}
    found = deviations(run_methods(FIRST), golden["losses"])
    assert [row.steps for row in found] == [FIRST] * len(METHODS)
    assert not [row for row in found if row.first is not None], as_table(found)


def test_the_first_step_out_of_tolerance_is_named() -> None:
    old = {"a": [1.0, 2.0, 3.0], "b": [1.0, -1.0, 0.0]}
    new = {"a": [1.0, 2.1, 3.0], "b": [1.0, -1.0, 1e-5]}
    a, b = deviations(new, old, 1e-3)
    assert (a.first, a.largest) == (1, pytest.approx(0.05))
    assert b.first is None and b.largest == pytest.approx(1.5e-5)  # of the mean size: this loss passes through zero
    assert "a " in as_table([a, b]) and "none" in as_table([a, b])


def test_a_loss_that_is_not_a_number_is_out_of_tolerance() -> None:
    [found] = deviations({"a": [1.0, float("nan")]}, {"a": [1.0, 1.0]}, 1e-3)
    assert found.first == 1


def test_other_methods_and_unknown_commits_are_refused() -> None:
    with pytest.raises(UserError, match="b is only in one"):
        deviations({"a": [1.0]}, {"a": [1.0], "b": [1.0]}, 1e-3)
    with pytest.raises(UserError, match="no-such-commit"):
        run_commit("no-such-commit", 1)
