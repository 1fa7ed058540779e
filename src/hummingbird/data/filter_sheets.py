"""Contact sheets of what a filter kept and dropped, drawn from the strips that were made when clips were measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from hummingbird.data.measuring.table import read_strips
from hummingbird.data.reason_sheets import KEPT, Row, dropped_heaps, write_sheets
from hummingbird.runlog import RunLog


def write_filter_sheets(
    folder: Path, strips: Path, before: pl.DataFrame, after: pl.DataFrame, label: Callable[[Row], str], log: RunLog
) -> None:
    """Write ``kept.png`` and, for each reason, ``dropped_REASON.png`` to ``folder``, and nothing else.

    Args:
        strips: folder of the strips.
        before, after: the clip table before and after the filter, in the same order.
        label: the scores of a row of ``after``, in a few words.
    """
    heaps = {KEPT: after.filter(pl.col("kept")), **dropped_heaps(after.filter(before["kept"] & ~after["kept"]))}
    write_sheets(folder, heaps, lambda rows: read_strips(strips, rows.filter(pl.col("shard") != "")), label, log)
