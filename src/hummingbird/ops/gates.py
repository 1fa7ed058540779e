"""Gates between stages: the tables a stage reads and writes must meet their Great Expectations suite.

The results of all gates are pages in ``reports/data_docs``; the project Great Expectations needs for that is scratch
and lies in ``.work/gx``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hummingbird import telemetry
from hummingbird.errors import UserError
from hummingbird.layout import Layout

if TYPE_CHECKING:
    from great_expectations.data_context import FileDataContext

WRITES = ("download", "measure", "vqa_filter", "motion_filter", "recaption", "encode")
READS = {
    "measure": "download",
    "vqa_filter": "measure",
    "motion_filter": "vqa_filter",
    "recaption": "motion_filter",
    "encode": "recaption",
    "stage1": "encode",
}
SITE = "data_docs"


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

    import hummingbird.ops.suites  # noqa: F401


def check(stage: str, layout: Layout) -> None:
    """Validate the table written by ``stage`` against its suite and add the result to the data docs.

    Raises:
        UserError: the table is missing or unreadable, or an expectation failed: which, what was found instead, and the
            page with the details.
    """
    table = _read(stage, table_of(stage, layout))
    failed = _validate(stage, table, layout)
    if failed:
        docs = layout.reports / "data_docs" / "index.html"
        shown = "\n".join(f"  {line}" for line in failed)
        raise UserError(
            f"{table_of(stage, layout)} breaks its contract:\n{shown}",
            f"open {docs}, mend the cause in stage {stage} or its parameters, then: dvc repro {stage}",
        )


def _read(stage: str, path: Path) -> Any:
    import polars as pl

    if not path.is_file():
        raise UserError(f"no table {path}", f"make it: dvc repro {stage}")
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(
            f"{path} is not a readable table: {error}", f"make it again: dvc repro -f -s {stage}"
        ) from error
    flat = [name for name, kind in table.schema.items() if not kind.is_nested()]  # pandas cannot compare lists
    return table.select(flat).to_pandas()


def _validate(stage: str, table: Any, layout: Layout) -> list[str]:
    """One line per failed expectation."""
    prepare()
    import great_expectations as gx

    from hummingbird.ops.suites import suite_for

    context = _context(layout)
    suite = context.suites.add_or_update(gx.ExpectationSuite(name=stage, expectations=suite_for(stage)))
    tables = context.data_sources.add_or_update_pandas("tables")
    batch = tables.add_dataframe_asset(stage).add_batch_definition_whole_dataframe("whole")
    definition = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=stage, data=batch, suite=suite)
    )
    update_docs = gx.checkpoint.UpdateDataDocsAction(name="update_docs", site_names=[SITE])
    checkpoint = context.checkpoints.add_or_update(
        gx.Checkpoint(name=stage, validation_definitions=[definition], actions=[update_docs])
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": table})
    return _failures(result for run in outcome.run_results.values() for result in run.results)


def _context(layout: Layout) -> FileDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    home = layout.root.resolve() / ".work"
    home.mkdir(parents=True, exist_ok=True)
    context = gx.get_context(mode="file", project_root_dir=home)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    folder = str((layout.reports / SITE).resolve())
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": folder}
    site: Any = {
        "class_name": "SiteBuilder",
        "store_backend": store,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    known = SITE in context.get_site_names()
    (context.update_data_docs_site if known else context.add_data_docs_site)(SITE, site)  # the project may have moved
    return context


def _failures(results: Iterable[Any]) -> list[str]:
    lines = []
    for result in results:
        if not result.success:
            config = result.expectation_config
            asked = {name: value for name, value in config.kwargs.items() if name not in ("batch_id", "row_condition")}
            lines.append(f"{config.type} {asked}: {_observed(result)}")
    return sorted(lines)


def _observed(result: Any) -> str:
    found = result.result
    if "observed_value" in found:
        return f"found {found['observed_value']}"
    if "unexpected_count" in found:
        examples = ", ".join(map(repr, found.get("partial_unexpected_list", [])[:3]))
        return f"{found['unexpected_count']} of {found['element_count']} rows differ: {examples}"
    return "the column is missing" if result.exception_info else "not met"
