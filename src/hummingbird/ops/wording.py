"""Expectations and what was found instead, in words: for the pages of the gates and for the error of a broken one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TABLE = "whole table"
_SHOWN_AS = {"unknown_original": "duplicate_of"}  # a column that is there for the gate only
_EXAMPLES = 5
_LONGEST = 80  # characters of a value that is quoted


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and its result. ``rows``: which of them it is about, empty for all; ``found``: what was there;
    ``examples``: of what should not be, each with the id of its clip."""

    column: str
    text: str
    rows: str
    met: bool
    found: str
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = f" ({self.rows})" if self.rows else ""
        examples = f": {', '.join(self.examples[:3])}" if self.examples else ""
        return f"{self.column} {self.text}{rows}; {self.found}{examples}"


def check_of(result: Any, rows: str) -> Check:
    """A result of Great Expectations in words; ``rows``: which of the table it is about."""
    config, found = result.expectation_config, result.result
    kwargs: Mapping[str, Any] = config.kwargs
    column = kwargs.get("column") or " and ".join(_columns(kwargs)) or TABLE
    column = _SHOWN_AS.get(column, column)
    text = config.description or _SENTENCES[config.type](kwargs)
    if "mostly" in kwargs and kwargs["mostly"] < 1:
        text += f" in at least {_percent(kwargs['mostly'])} of the rows"
    return Check(column, text, rows, bool(result.success), _found(config.type, found), _examples(found))


def columns_check(result: Any) -> Check:
    """The result on the list of columns in words: pairs of a name and a type."""
    columns = len(result.expectation_config.kwargs["value_pairs_set"])
    wrong = [f"{name} is {kind}" for name, kind in result.result["partial_unexpected_list"]]
    found = f"{len(wrong)} of them are not so" if wrong else "all there"
    return Check(TABLE, f"has {columns} columns, each of its type", "", bool(result.success), found, wrong)


def _columns(kwargs: Mapping[str, Any]) -> list[str]:
    return kwargs.get("column_list") or [kwargs[name] for name in ("column_A", "column_B") if name in kwargs]


def _bounds(kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    least = f"more than {low:,g}" if kwargs.get("strict_min") else "" if low is None else f"at least {low:,g}"
    if low is None or high is None:
        return least or f"at most {high:,g}"
    return f"{least} and at most {high:,g}" if kwargs.get("strict_min") else f"from {low:,g} to {high:,g}"


def _in_set(kwargs: Mapping[str, Any]) -> str:
    values = kwargs["value_set"]
    return "is empty text" if values == [""] else f"is one of {', '.join(map(str, values))}"


_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "expect_table_row_count_to_be_between": lambda kwargs: f"has {_bounds(kwargs)} row",
    "expect_column_values_to_not_be_null": lambda kwargs: "is never missing",
    "expect_column_values_to_be_null": lambda kwargs: "is missing",
    "expect_column_values_to_be_unique": lambda kwargs: "differs in every row",
    "expect_compound_columns_to_be_unique": lambda kwargs: "are a pair that occurs once",
    "expect_column_mean_to_be_between": lambda kwargs: (
        f"is true in at least {_percent(kwargs['min_value'])} of the rows"
    ),
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_be_between": lambda kwargs: f"is {_bounds(kwargs)}",
    "expect_column_value_lengths_to_be_between": lambda kwargs: f"has {_bounds(kwargs)} characters",
    "expect_column_values_to_match_regex": lambda kwargs: f"matches {kwargs['regex']}",
    "expect_column_pair_values_to_be_equal": lambda kwargs: "are the same",
}


def _found(kind: str, found: Mapping[str, Any]) -> str:
    if "mean" in kind:
        return "no row" if found["observed_value"] is None else f"found {_percent(found['observed_value'])}"
    if "observed_value" in found:
        return f"found {found['observed_value']:,}"
    wrong, rows = found["unexpected_count"], found["element_count"]
    return f"{wrong:,} of {rows:,} rows are not so" if wrong else f"{rows:,} row{'s' * (rows != 1)}"


def _examples(found: Mapping[str, Any]) -> list[str]:
    rows = found.get("partial_unexpected_index_list") or []
    return [_example(row) for row in rows[:_EXAMPLES]]


def _example(row: Mapping[str, Any]) -> str:
    values = [quote(value) for name, value in row.items() if name != "clip_id"]
    clip = quote(row["clip_id"])
    return f"{', '.join(values)} (clip {clip})" if values else clip


def quote(value: Any) -> str:
    """A value as it may stand in a line of text: printable, and not too long."""
    if value is None or value != value:
        return "nothing"
    text = value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text):,} characters)"
    return f"“{short}”" if isinstance(value, str) else short


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
