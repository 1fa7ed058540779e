"""The gates, by properties: whatever the numbers are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hummingbird.ops.registry import evidence, gates
from hummingbird.ops.registry.evidence import Evidence, Figure, Files, Latency, Provenance, Quality
from hummingbird.params import Promotion

NAMES = ("held_out_reward", "probe_all")
SOUND = Provenance(
    commit="c0ffee",
    lock_sha256="11",
    git=evidence.CLEAN,
    stages=evidence.UP_TO_DATE,
    data=evidence.PUSHED,
    gates=evidence.GREEN,
)
fractions = st.floats(0, 1)
seconds = st.floats(1e-4, 1e4)
budgets = st.none() | seconds
rules_of_any_kind = st.builds(
    Promotion, figures=st.just(NAMES), max_latency_s=budgets, max_latency_ratio=st.floats(1, 10)
)


@st.composite
def figures(draw: st.DrawFn) -> Figure:
    low, value, high = sorted(draw(st.tuples(fractions, fractions, fractions)))
    return Figure(value=value, low=low, high=high)


@st.composite
def versions(draw: st.DrawFn, **fixed: Any) -> Evidence:
    """A version that was evaluated and timed under the same conditions as every other one of these."""
    measured = {name: draw(figures()) for name in NAMES}
    median = draw(seconds)
    quality = Quality(mode="miniature", suite="a1", judges="b2", seeds="1, 2", n=8, figures=measured)
    latency = Latency(
        median_s=median, p95_s=2 * median, n=5, device="cpu", dtype="float32", threads=2, resolution="32x32", frames=8
    )
    files = Files(md5="d3.dir", count=3, size=10)
    known = {"quality": quality, "latency": latency, "provenance": SOUND} | fixed
    return Evidence(model="stage2", producer_run_id="r", files=files, **known)


def names(verdicts: list[gates.Verdict]) -> list[str]:
    return [verdict.gate for verdict in gates.failing(verdicts)]


@given(versions(), rules_of_any_kind.filter(lambda rules: rules.max_latency_s is None))
def test_a_version_as_good_and_fast_as_the_holder_passes(version: Evidence, rules: Promotion) -> None:
    assert names(gates.judge(version, version, rules)) == []


@given(versions(), versions(), rules_of_any_kind)
def test_it_passes_exactly_if_no_figure_and_no_time_is_beyond_its_bar(
    candidate: Evidence, holder: Evidence, rules: Promotion
) -> None:
    assert candidate.quality and holder.quality and candidate.latency and holder.latency
    mine, theirs, time = candidate.quality.figures, holder.quality.figures, candidate.latency.median_s
    wanted = [f"quality: {name}" for name in NAMES if mine[name].value < theirs[name].low]
    if rules.max_latency_s is not None and time > rules.max_latency_s:
        wanted.append("latency: budget")
    if time > rules.max_latency_ratio * holder.latency.median_s:
        wanted.append("latency: holder")
    assert names(gates.judge(candidate, holder, rules)) == wanted


@given(versions(), versions(), rules_of_any_kind, st.sampled_from(NAMES), fractions)
def test_a_better_figure_never_costs_a_promotion(
    candidate: Evidence, holder: Evidence, rules: Promotion, name: str, gain: float
) -> None:
    assert candidate.quality
    before = set(names(gates.judge(candidate, holder, rules)))
    old = candidate.quality.figures[name]
    better = Figure(value=old.value + gain, low=old.low, high=old.high + gain)
    figures = candidate.quality.figures | {name: better}
    improved = candidate.model_copy(update={"quality": candidate.quality.model_copy(update={"figures": figures})})
    assert set(names(gates.judge(improved, holder, rules))) <= before


@given(versions(), versions(), rules_of_any_kind, st.floats(0.01, 1))
def test_a_shorter_time_never_costs_a_promotion(
    candidate: Evidence, holder: Evidence, rules: Promotion, share: float
) -> None:
    assert candidate.latency
    before = set(names(gates.judge(candidate, holder, rules)))
    latency = candidate.latency.model_copy(update={"median_s": candidate.latency.median_s * share})
    faster = candidate.model_copy(update={"latency": latency})
    assert set(names(gates.judge(faster, holder, rules))) <= before


@given(versions(), rules_of_any_kind)
def test_the_first_holder_meets_the_absolute_gates_only(candidate: Evidence, rules: Promotion) -> None:
    assert candidate.latency
    slow = rules.max_latency_s is not None and candidate.latency.median_s > rules.max_latency_s
    assert names(gates.judge(candidate, None, rules)) == (["latency: budget"] if slow else [])


@pytest.mark.parametrize("field", ["commit", "git", "stages", "data", "gates"])
@given(versions(), st.none() | versions(), rules_of_any_kind)
def test_no_figure_makes_up_for_a_version_that_cannot_be_made_again(
    field: str, candidate: Evidence, holder: Evidence | None, rules: Promotion
) -> None:
    provenance = SOUND.model_copy(update={field: gates.UNKNOWN})
    flawed = candidate.model_copy(update={"provenance": provenance})
    assert f"provenance: {field}" in names(gates.judge(flawed, holder, rules))


@pytest.mark.parametrize("field", ["mode", "suite", "judges", "seeds", "n"])
@given(versions(), versions(), rules_of_any_kind)
def test_evaluations_that_differ_in_more_than_the_model_are_not_compared(
    field: str, candidate: Evidence, holder: Evidence, rules: Promotion
) -> None:
    assert candidate.quality and holder.quality
    other = 9 if field == "n" else "official"
    quality = candidate.quality.model_copy(update={field: other})
    verdicts = gates.judge(candidate.model_copy(update={"quality": quality}), holder, rules)
    [verdict] = [verdict for verdict in gates.failing(verdicts) if verdict.gate == "quality: comparable"]
    assert verdict.text.endswith(f"{field} {other} and {getattr(holder.quality, field)}")
    assert not [verdict for verdict in verdicts if verdict.gate == "quality: held_out_reward"]


@pytest.mark.parametrize("field", ["device", "dtype", "threads", "resolution", "frames"])
@given(versions(), versions(), rules_of_any_kind)
def test_times_of_another_machine_or_size_are_not_compared(
    field: str, candidate: Evidence, holder: Evidence, rules: Promotion
) -> None:
    assert candidate.latency
    value: Any = 99 if field in ("threads", "frames") else "other"
    latency = candidate.latency.model_copy(update={field: value})
    failed = names(gates.judge(candidate.model_copy(update={"latency": latency}), holder, rules))
    assert "latency: comparable" in failed and "latency: holder" not in failed


@given(versions(), st.none() | versions(), rules_of_any_kind, st.sampled_from(["quality", "latency"]))
def test_what_was_not_measured_does_not_pass(
    candidate: Evidence, holder: Evidence | None, rules: Promotion, missing: str
) -> None:
    assert missing in names(gates.judge(candidate.model_copy(update={missing: None}), holder, rules))
    if holder is not None:
        assert missing in names(gates.judge(candidate, holder.model_copy(update={missing: None}), rules))
    assert names(gates.judge(None, holder, rules)) == ["evidence"]


@given(versions(), rules_of_any_kind)
def test_a_figure_that_the_rules_name_must_be_there(candidate: Evidence, rules: Promotion) -> None:
    asked = rules.model_copy(update={"figures": ("vbench_total",)})
    assert "quality: vbench_total" in names(gates.judge(candidate, None, asked))


def test_both_numbers_are_told() -> None:
    verdict = gates._at_most("latency: budget", 2.5, 1.25, "the budget")
    assert not verdict.passed and "2.5 s" in verdict.text and "1.25 s" in verdict.text
    found, bar = Figure(value=0.5, low=0.4, high=0.6), Figure(value=0.8, low=0.7, high=0.9)
    quality = Quality(mode="m", suite="s", judges="j", seeds="1", n=1, figures={"f": found})
    verdict = gates._figure("f", quality, quality.model_copy(update={"figures": {"f": bar}}))
    assert not verdict.passed and "f 0.5 is below 0.7" in verdict.text


@given(versions())
def test_tags_hold_all_of_it(version: Evidence) -> None:
    tags = evidence.to_tags(version)
    assert all(isinstance(value, str) and value for value in tags.values())
    assert evidence.from_tags(tags | {"mlflow.note": "by a person"}) == version


@given(versions(), st.data())
def test_tags_with_a_gap_are_no_evidence(version: Evidence, data: st.DataObject) -> None:
    tags = evidence.to_tags(version)
    tags.pop(data.draw(st.sampled_from(sorted(tags))))
    found = evidence.from_tags(tags)
    assert found is None or evidence.to_tags(found) == tags
