"""Gates between stages: the tables a stage reads and writes must meet their Great Expectations suite.

The results are pages in ``reports/data_docs`` (:mod:`hummingbird.ops.data_docs`). Great Expectations keeps nothing on
the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hummingbird import telemetry
from hummingbird.errors import UserError
from hummingbird.layout import Layout

if TYPE_CHECKING:
    import polars as pl

    from hummingbird.ops.data_docs import Checked

WRITES = ("download", "measure", "vqa_filter", "motion_filter", "recaption", "encode")
READS = {
    "measure": "download",
    "vqa_filter": "measure",
    "motion_filter": "vqa_filter",
    "recaption": "motion_filter",
    "encode": "recaption",
    "decoder": "encode",
    "stage1": "encode",
}
SITE = "data_docs"
_EXAMPLES = 5
_REASONS = 5


def table_of(stage: str, layout: Layout) -> Path:
    """The table that ``stage`` writes."""
    if stage == "measure":
        return layout.measure / "scores.parquet"
    return layout.latents / "index.parquet" if stage == "encode" else layout.clip_table(stage)


def prepare() -> None:
    """Import what the gates need, which takes seconds."""
    telemetry.switch_off()
    import great_expectations  # noqa: F401
    import polars  # noqa: F401

    import hummingbird.ops.data_docs
    import hummingbird.ops.suites  # noqa: F401


def check(stage: str, layout: Layout) -> None:
    """Validate the table written by ``stage`` against its suite and write its page of the data docs.

    The least share of clips that it must have kept is ``curation.min_kept`` of the project's ``params.yaml``.

    Raises:
        UserError: the table is missing or unreadable, or an expectation failed: which, what was found instead, and the
            page with the details.
    """
    path = table_of(stage, layout)
    table = _read(stage, path)
    prepare()
    from hummingbird.ops import data_docs

    checked = _check(stage, table, layout)
    data_docs.write(layout.reports / SITE, checked, WRITES)
    if checked.failed:
        lines = [*map(str, checked.failed), *([checked.remark] if checked.remark else [])]
        shown = "\n".join(f"  {line}" for line in lines)
        raise UserError(
            f"{path} breaks its contract:\n{shown}",
            f"open {layout.reports / SITE / f'{stage}.html'}, mend the cause in stage {stage} or its parameters, then: "
            f"dvc repro {stage}",
        )


def _read(stage: str, path: Path) -> pl.DataFrame:
    import polars as pl

    if not path.is_file():
        raise UserError(f"no table {path}", f"make it: dvc repro {stage}")
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(
            f"{path} is not a readable table: {error}", f"make it again: dvc repro -f -s {stage}"
        ) from error


def _check(stage: str, table: pl.DataFrame, layout: Layout) -> Checked:
    """The result for one table. Its rows are looked at only if it has the columns for it."""
    from hummingbird.ops.data_docs import Checked
    from hummingbird.ops.suites import ROWS, column_suite, columns_of, suites_for
    from hummingbird.ops.wording import check_of, columns_check

    columns = columns_of(stage)
    checks = [columns_check(result) for result in _validate(_list_of_columns(table, columns), column_suite(stage))]
    remark = ""
    if checks[0].met:
        least = _min_kept(stage, layout)
        checked = _with_originals(table)
        for rows, suite in suites_for(stage, least).items():
            checks += [check_of(result, rows) for result in _validate(checked.filter(ROWS[rows]), suite, ["clip_id"])]
        if len(table) and "kept" in columns and int(table["kept"].sum()) < least * len(table):
            remark = _why_so_few(stage, table, least)
    else:
        remark = "The rows were not looked at, since columns are missing or of another type."
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    path = table_of(stage, layout).relative_to(layout.root).as_posix()
    return Checked(stage, path, len(table), now, checks, _holds(table, columns), remark)


def _min_kept(stage: str, layout: Layout) -> float:
    from hummingbird.params import load_params

    least = load_params(layout.root / "params.yaml").curation.min_kept.model_dump()
    return float(least.get(stage, 0.0))


def _list_of_columns(table: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    import polars as pl

    kinds = [str(table.schema[name]) if name in table.columns else "missing" for name in columns]
    return pl.DataFrame({"column": list(columns), "type": kinds})


def _with_originals(table: pl.DataFrame) -> pl.DataFrame:
    """A clip table with what the suite asks of rows in relation to each other; another table as it is."""
    import polars as pl

    from hummingbird.ops.suites import UNKNOWN_ORIGINAL

    if "duplicate_of" not in table.columns:
        return table
    original = pl.col("duplicate_of")
    known = (original == "") | (original.is_in(table["clip_id"].implode()) & (original != pl.col("clip_id")))
    return table.with_columns(pl.when(known).then(pl.lit("")).otherwise(original).alias(UNKNOWN_ORIGINAL))


def _validate(table: pl.DataFrame, suite: Sequence[Any], index: Sequence[str] = ()) -> list[Any]:
    """Results of Great Expectations; ``index``: columns that say which row is meant."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("tables").add_dataframe_asset("table")
    rows = table.select(name for name in table.columns if name in _about(suite) or name in index).to_pandas()
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": rows})
    wanted: Any = {"result_format": "SUMMARY", "partial_unexpected_count": _EXAMPLES if index else len(table)}
    if index:
        wanted["unexpected_index_column_names"] = list(index)
    return batch.validate(gx.ExpectationSuite(name="suite", expectations=list(suite)), result_format=wanted).results


def _about(suite: Sequence[Any]) -> set[str]:
    """The columns that expectations are about."""
    asked = [expectation.configuration.kwargs for expectation in suite]
    single = {kwargs[name] for kwargs in asked for name in ("column", "column_A", "column_B") if name in kwargs}
    return single | {name for kwargs in asked for name in kwargs.get("column_list", ())}


def _why_so_few(stage: str, table: pl.DataFrame, least: float) -> str:
    from hummingbird.data.clips import reason_counts

    counts = reason_counts(table)
    often = ", ".join(f"{count:,} {reason}" for reason, count in list(counts.items())[:_REASONS])
    more = len(counts) - _REASONS
    rest = f" and {more} more reasons" if more > 0 else ""
    kept = int(table["kept"].sum())
    return (
        f"{kept:,} of {len(table):,} clips are left, fewer than curation.min_kept.{stage} = {least:g} asks for. "
        f"Dropped: {often}{rest}. If that is as it should be, lower curation.min_kept.{stage} in params.yaml."
    )


def _holds(table: pl.DataFrame, columns: dict[str, str]) -> dict[str, str]:
    """What the columns hold: how much is missing, the range of numbers, the length of texts."""
    import polars as pl

    found = {}
    for name in (name for name in columns if name in table.columns):
        values = table[name]
        said = [str(values.dtype), *([f"{values.null_count():,} missing"] if values.null_count() else [])]
        present = values.drop_nulls()
        if values.dtype.is_numeric():
            numbers = present.cast(pl.Float64).drop_nans().to_numpy()
            said += [f"{numbers.min():.6g} to {numbers.max():.6g}"] if len(numbers) else []
        elif values.dtype == pl.String and len(present):
            said.append(
                f"{present.n_unique():,} different, up to {present.str.len_chars().to_numpy().max():,} characters"
            )
        elif values.dtype == pl.Boolean:
            said.append(f"{int(present.sum()):,} true")
        found[name] = "; ".join(said)
    return found
