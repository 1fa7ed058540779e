"""Promotion and rollback against a real MLflow database."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hummingbird.errors import UserError
from hummingbird.ops.registry import promotion
from hummingbird.ops.registry.ledger import Entry
from hummingbird.ops.registry.promotion import RefusedError, examine, promote, repair, rollback, settle
from hummingbird.ops.registry.server import REPORT, Registry
from hummingbird.params import Promotion

CHAMPION = "champion"
Add = Callable[..., int]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "_PAUSE", 0.01)


def lines(registry: Registry) -> list[tuple[str, int | None, int]]:
    return [(entry.action, entry.before, entry.after) for entry in registry.entries()]


def test_worse_is_refused_better_wins_and_rollback_restores(registry: Registry, add: Add, rules: Promotion) -> None:
    first, worse, better = add(0.5), add(0.48), add(0.6)
    promote(registry, first, CHAMPION, "the first", rules, who="ann")
    with pytest.raises(RefusedError) as refused:
        promote(registry, worse, CHAMPION, "hope", rules, who="bob")
    assert "quality: held_out_reward" in refused.value.problem
    assert "0.48 is below 0.49" in refused.value.problem
    assert registry.alias(CHAMPION) == first
    promote(registry, better, CHAMPION, "better on all prompts", rules, who="bob")
    assert registry.alias(CHAMPION) == better
    rollback(registry, CHAMPION, "it flickers", rules, who="eve")
    assert registry.alias(CHAMPION) == first
    assert lines(registry) == [
        ("promote", None, first),
        ("refuse", first, worse),
        ("promote", first, better),
        ("rollback", better, first),
    ]
    assert [(entry.who, entry.why) for entry in registry.entries()] == [
        ("ann", "the first"),
        ("bob", "hope"),
        ("bob", "better on all prompts"),
        ("eve", "it flickers"),
    ]
    with pytest.raises(UserError, match="no version was champion before"):
        rollback(registry, CHAMPION, "again", rules)


def test_each_entry_has_a_report_of_what_was_known(
    registry: Registry, add: Add, rules: Promotion, tmp_path: Path
) -> None:
    first, second = add(0.5), add(0.6)
    promote(registry, first, CHAMPION, "the first", rules)
    promote(registry, second, CHAMPION, "better", rules)
    entry = registry.entries()[-1]
    assert entry.applied
    file = registry.client.download_artifacts(entry.run_id, f"{REPORT}/report.json", str(tmp_path))
    report = json.loads(Path(file).read_text())
    assert report["why"] == "better" and report["from"] == str(first)
    assert {verdict["gate"] for verdict in report["verdicts"]} >= {"quality: held_out_reward", "latency: holder"}
    rewards = {
        version: known["quality"]["figures"]["held_out_reward"]["value"]
        for version, known in report["versions"].items()
    }
    assert rewards == {str(first): 0.5, str(second): 0.6}


def test_asking_changes_nothing(registry: Registry, add: Add, rules: Promotion) -> None:
    good, dirty = add(0.5), add(0.9, git="params.yaml differs")
    assert all(verdict.passed for verdict in examine(registry, good, CHAMPION, rules).verdicts)
    [failed] = [each for each in examine(registry, dirty, CHAMPION, rules).verdicts if not each.passed]
    assert (failed.gate, failed.found) == ("provenance: git", "params.yaml differs")
    assert registry.alias(CHAMPION) is None and lines(registry) == []


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"seconds": 1.2}, "latency: budget"),
        ({"seconds": 0.2}, "latency: holder"),
        ({"data": "12 files are not in the remote"}, "provenance: data"),
        ({"gates": "encode: 3 rows"}, "provenance: gates"),
        ({"commit": "unknown"}, "provenance: commit"),
    ],
)
def test_the_failing_gate_is_named(
    change: dict[str, Any], gate: str, registry: Registry, add: Add, rules: Promotion
) -> None:
    promote(registry, add(0.5), CHAMPION, "the first", rules)
    with pytest.raises(RefusedError) as refused:
        promote(registry, add(0.9, **change), CHAMPION, "hope", rules)
    assert gate in [verdict.gate for verdict in refused.value.verdicts if not verdict.passed]
    assert registry.alias(CHAMPION) == 1


def test_bad_input_is_one_clear_error_and_no_change(
    registry: Registry, add: Add, rules: Promotion, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no model hummingbird is registered"):
        promote(registry, 1, CHAMPION, "why", rules)
    version = add(0.5)
    for arguments, words in (
        ((9, CHAMPION, "why"), "has no version 9"),
        ((version, "champoin", "why"), "did you mean 'champion'"),
        ((version, CHAMPION, " "), "no reason"),
    ):
        with pytest.raises(UserError, match=words):
            promote(registry, *arguments, rules)
    with pytest.raises(UserError, match="no version was champion before; no version has it"):
        rollback(registry, CHAMPION, "why", rules)
    weights = tmp_path / "store/1/artifacts/pipeline/weights.bin"
    weights.write_bytes(b"torn")
    with pytest.raises(UserError, match="1 files of 4 bytes, where 1 of 100 were registered"):
        promote(registry, version, CHAMPION, "why", rules)
    shutil.rmtree(tmp_path / "store/1")
    with pytest.raises(UserError, match="the files of version 1 of hummingbird are not where"):
        promote(registry, version, CHAMPION, "why", rules)
    assert lines(registry) == [] and registry.alias(CHAMPION) is None


def test_the_holder_is_not_promoted_again(registry: Registry, add: Add, rules: Promotion) -> None:
    version = add(0.5)
    promote(registry, version, CHAMPION, "the first", rules)
    with pytest.raises(UserError, match="version 1 is champion already"):
        promote(registry, version, CHAMPION, "again", rules)


def test_a_version_made_in_another_way_is_refused(registry: Registry, add: Add, rules: Promotion) -> None:
    other = registry.version(add(0.5))
    for tag in other.tags:
        registry.client.delete_model_version_tag(registry.name, other.version, tag)
    with pytest.raises(RefusedError, match="evidence"):
        promote(registry, int(other.version), CHAMPION, "why", rules)


def test_a_move_that_died_half_way_is_finished_by_the_next_command(
    registry: Registry, add: Add, rules: Promotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = add(0.5), add(0.6)
    promote(registry, first, CHAMPION, "the first", rules)

    def die(*_: Any) -> None:
        raise ConnectionError("server gone")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(registry, "set_alias", die)
        promote(registry, second, CHAMPION, "better", rules)
    assert registry.alias(CHAMPION) == first
    assert settle(registry, CHAMPION).holder == second
    assert registry.alias(CHAMPION) == second
    assert registry.entries()[-1].applied


def test_an_entry_that_the_server_took_without_an_answer_is_not_lost_to_itself(
    registry: Registry, add: Add, rules: Promotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, version = registry.client.create_model_version, add(0.5)

    def twice(*arguments: Any, **more: Any) -> Any:
        create(*arguments, **more)
        return create(*arguments, **more)

    monkeypatch.setattr(registry.client, "create_model_version", twice)
    promote(registry, version, CHAMPION, "the first", rules)
    assert registry.alias(CHAMPION) == version
    assert len(registry.standing(CHAMPION).valid) == 1 and not registry.standing(CHAMPION).lost


@pytest.mark.parametrize("keep", ["ledger", "alias"])
def test_an_alias_moved_by_hand_stops_everything_until_somebody_decides(
    keep: str, registry: Registry, add: Add, rules: Promotion
) -> None:
    first, second, third = add(0.5), add(0.6), add(0.7)
    promote(registry, first, CHAMPION, "the first", rules)
    with pytest.raises(UserError, match="champion is what the ledger says"):
        repair(registry, CHAMPION, keep, "why", rules)
    registry.client.set_registered_model_alias(registry.name, CHAMPION, str(second))
    for attempt in (
        lambda: promote(registry, third, CHAMPION, "better", rules),
        lambda: rollback(registry, CHAMPION, "worse", rules),
    ):
        with pytest.raises(UserError, match="champion is version 2, but the ledger says version 1") as caught:
            attempt()
        assert "--keep ledger, or --keep alias" in caught.value.next_step
    repair(registry, CHAMPION, keep, "settled", rules)
    kept = first if keep == "ledger" else second
    assert registry.alias(CHAMPION) == settle(registry, CHAMPION).holder == kept
    promote(registry, third, CHAMPION, "better", rules)
    rollback(registry, CHAMPION, "no", rules)
    assert registry.alias(CHAMPION) == kept


def test_a_deleted_holder_is_replaced_by_a_rollback(registry: Registry, add: Add, rules: Promotion) -> None:
    first, second, third = add(0.5), add(0.6), add(0.7)
    promote(registry, first, CHAMPION, "the first", rules)
    promote(registry, second, CHAMPION, "better", rules)
    registry.client.delete_model_version(registry.name, str(second))
    with pytest.raises(UserError, match="version 2, the champion by the ledger, was deleted"):
        promote(registry, third, CHAMPION, "better", rules)
    rollback(registry, CHAMPION, "gone", rules)
    assert registry.alias(CHAMPION) == first


def test_the_loser_learns_who_won(
    registry: Registry, add: Add, rules: Promotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, mine, theirs = add(0.5), add(0.6), add(0.7)
    promote(registry, first, CHAMPION, "the first", rules)
    append = registry.append

    def append_after_the_other(entry: Entry, report: Any) -> Entry:
        monkeypatch.setattr(registry, "append", append)
        promote(registry, theirs, CHAMPION, "mine is best", rules, who="bob")
        return append(entry, report)

    monkeypatch.setattr(registry, "append", append_after_the_other)
    with pytest.raises(UserError, match="bob made version 3 champion first"):
        promote(registry, mine, CHAMPION, "better", rules, who="ann")
    assert registry.alias(CHAMPION) == theirs
    [lost] = registry.standing(CHAMPION).lost
    assert lost.after == mine


def test_an_approval_counts_for_the_comparison_that_was_approved_only(
    registry: Registry, add: Add, rules: Promotion
) -> None:
    first, mine, theirs = add(0.5), add(0.7), add(0.6)
    seen_without_holder = examine(registry, mine, CHAMPION, rules)
    promote(registry, first, CHAMPION, "the first", rules)
    seen = examine(registry, mine, CHAMPION, rules)
    promote(registry, theirs, CHAMPION, "mine is best", rules, who="bob")
    for approved in (seen_without_holder, seen):
        with pytest.raises(UserError, match="version 3 became champion meanwhile"):
            promote(registry, mine, CHAMPION, "better", rules, who="ann", approved=approved)
    assert registry.alias(CHAMPION) == theirs
    now = examine(registry, mine, CHAMPION, rules)
    promote(registry, mine, CHAMPION, "better", rules, who="ann", approved=now)
    assert [after for _, _, after in lines(registry)] == [first, theirs, mine]


def test_a_refusal_is_recorded_and_never_moves_the_alias(registry: Registry, add: Add, rules: Promotion) -> None:
    first, worse = add(0.5), add(0.4)
    promote(registry, first, CHAMPION, "the first", rules)
    outcome = examine(registry, worse, CHAMPION, rules)
    registry.client.set_model_version_tag(registry.name, str(worse), "quality.figures.held_out_reward.value", "0.9")
    refusal = promotion.refuse(registry, outcome, "hope", who="bob")
    assert "0.4 is below 0.49" in refusal.problem
    assert registry.alias(CHAMPION) == settle(registry, CHAMPION).holder == first
    assert lines(registry)[1:] == [("refuse", first, worse)]
    with pytest.raises(UserError, match="no reason"):
        promotion.refuse(registry, outcome, " ")


PROMOTER = """
import sys, time
from pathlib import Path
from hummingbird.errors import UserError
from hummingbird.ops.registry.promotion import promote
from hummingbird.ops.registry.server import Registry
from hummingbird.params import Promotion

root, me, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rules = Promotion(figures=("held_out_reward",), max_latency_s=1.0, max_latency_ratio=1.5)
registry = Registry(root)

def meet(place):
    (root / f"{place}-{me}").touch()
    while not (root / f"{place}-{1 - me}").exists():
        time.sleep(0.001)

append = registry.append
for round in range(rounds):
    version = 2 + 2 * round + me
    def append_together(entry, report):
        meet(f"decided{round}")  # both have seen the same champion
        return append(entry, report)
    registry.append = append_together
    try:
        promote(registry, version, "champion", f"round {round}", rules, who=f"p{me}")
        print(round, version, "won", flush=True)
    except UserError as error:
        print(round, version, "lost" if "first" in error.problem else error.problem, flush=True)
    meet(f"done{round}")
"""


@pytest.mark.slow
def test_of_two_promotions_at_once_one_wins(registry: Registry, add: Add, rules: Promotion, root: Path) -> None:
    rounds = 4
    promote(registry, add(0.5), CHAMPION, "the first", rules)
    for _ in range(2 * rounds):
        add(0.5)
    commands = [[sys.executable, "-c", PROMOTER, str(root), str(me), str(rounds)] for me in (0, 1)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    said = [line.split() for process in running for line in process.communicate(timeout=240)[0].splitlines()]
    assert len(said) == 2 * rounds
    won = {int(round): int(version) for round, version, word in said if word == "won"}
    assert sorted(won) == list(range(rounds)), said
    assert sorted(word for *_, word in said) == ["lost"] * rounds + ["won"] * rounds
    standing = registry.standing(CHAMPION)
    assert standing.history == (1, *(won[round] for round in range(rounds)))
    assert registry.alias(CHAMPION) == standing.holder
    assert len(registry.entries()) == 1 + 2 * rounds
