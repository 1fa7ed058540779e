"""May an alias move to a version? Pure functions of what is known of it and of the version that holds the alias."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hummingbird.ops.registry import evidence
from hummingbird.ops.registry.evidence import Evidence, Facts, Latency, Quality
from hummingbird.params import Promotion

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate says: what it found, what it asked for, and the sentence for people."""

    gate: str
    passed: bool
    found: str
    asked: str
    text: str


def judge(candidate: Evidence | None, holder: Evidence | None, rules: Promotion) -> list[Verdict]:
    """Every gate's verdict on ``candidate``; it may be promoted only if all passed.

    Args:
        candidate: None if its tags are no evidence.
        holder: the version that the alias names; None if it names none yet, so that nothing is compared.
    """
    if candidate is None:
        text = "the version's tags do not say how good, how fast and how traceable it is: it was not made by `register`"
        return [Verdict("evidence", False, UNKNOWN, "tags of `hummingbird register`", text)]
    return [
        *quality(candidate.quality, holder, rules.figures),
        *latency(candidate.latency, holder, rules),
        *provenance(candidate.provenance),
    ]


def failing(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that did not pass."""
    return [verdict for verdict in verdicts if not verdict.passed]


def quality(candidate: Quality | None, holder: Evidence | None, figures: Iterable[str]) -> list[Verdict]:
    """Each of ``figures`` must be known, and not lie below the holder's confidence interval."""
    if candidate is None:
        return [_unknown("quality", "it was not evaluated")]
    if holder is not None:
        if holder.quality is None:
            return [_unknown("quality", "the holder of the alias was not evaluated, so nothing can be compared")]
        if differences := _differences(candidate, holder.quality, {"figures"}):
            return [_incomparable("quality", "evaluated", differences)]
    return [_figure(name, candidate, holder.quality if holder else None) for name in figures]


def _figure(name: str, candidate: Quality, holder: Quality | None) -> Verdict:
    gate = f"quality: {name}"
    found = candidate.figures.get(name)
    if found is None:
        return _unknown(gate, f"its evaluation has no {name}")
    if holder is None:
        return Verdict(gate, True, f"{found.value:.4g}", "any", f"{name} is {found.value:.4g}; nothing to compare with")
    bar = holder.figures.get(name)
    if bar is None:
        return _unknown(gate, f"the evaluation of the alias' holder has no {name}")
    passed = found.value >= bar.low
    side = "not below" if passed else "below"
    text = f"{name} {found.value:.6g} is {side} {bar.low:.6g}, where the holder's interval begins (its {bar.value:.6g})"
    return Verdict(gate, passed, f"{found.value:.6g}", f">= {bar.low:.6g}", text)


def latency(candidate: Latency | None, holder: Evidence | None, rules: Promotion) -> list[Verdict]:
    """The median must be known, within the budget in seconds, and within a multiple of the holder's."""
    if candidate is None:
        return [_unknown("latency", "it was not timed")]
    verdicts = []
    if rules.max_latency_s is not None:
        verdicts.append(_at_most("latency: budget", candidate.median_s, rules.max_latency_s, "the budget"))
    if holder is not None:
        if holder.latency is None:
            return [*verdicts, _unknown("latency", "the holder of the alias was not timed, so nothing can be compared")]
        if differences := _differences(candidate, holder.latency, {"median_s", "p95_s", "n"}):
            return [*verdicts, _incomparable("latency", "timed", differences)]
        bar = rules.max_latency_ratio * holder.latency.median_s
        asked = f"{rules.max_latency_ratio:g} times the holder's {holder.latency.median_s:.4g} s"
        verdicts.append(_at_most("latency: holder", candidate.median_s, bar, asked))
    return verdicts


def _at_most(gate: str, seconds: float, bar: float, what: str) -> Verdict:
    passed = seconds <= bar
    text = f"a video takes {seconds:.6g} s, {'within' if passed else 'more than'} {bar:.6g} s, {what}"
    return Verdict(gate, passed, f"{seconds:.6g} s", f"<= {bar:.6g} s", text)


def provenance(found: evidence.Provenance) -> list[Verdict]:
    """The commit must be known, its files unchanged, its results the recorded ones, in the remote, and within the
    gates of the data."""
    known = found.commit != UNKNOWN
    text = f"made at commit {found.commit}" if known else "the git commit it was made at is unknown"
    verdicts = [Verdict("provenance: commit", known, found.commit, "known", text)]
    for gate, value, asked in (
        ("git", found.git, evidence.CLEAN),
        ("stages", found.stages, evidence.UP_TO_DATE),
        ("data", found.data, evidence.PUSHED),
        ("gates", found.gates, evidence.GREEN),
    ):
        passed = value == asked
        told = f"{gate}: {value}" if passed else f"{gate}: {value}; asked for: {asked}"
        verdicts.append(Verdict(f"provenance: {gate}", passed, value, asked, told))
    return verdicts


def _differences(one: Facts, other: Facts, ignored: set[str]) -> list[str]:
    mine, theirs = one.model_dump(exclude=ignored), other.model_dump(exclude=ignored)
    return [f"{name} {mine[name]} and {theirs[name]}" for name in mine if mine[name] != theirs[name]]


def _incomparable(gate: str, how: str, differences: list[str]) -> Verdict:
    text = f"it and the alias' holder were not {how} alike: {'; '.join(differences)}"
    return Verdict(f"{gate}: comparable", False, "; ".join(differences), "the same conditions", text)


def _unknown(gate: str, text: str) -> Verdict:
    return Verdict(gate, False, UNKNOWN, "known", text)
