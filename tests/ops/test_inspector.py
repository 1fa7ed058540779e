"""The gates' own process: it answers as the gates do, outlives a failed check and says so if it dies."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops.inspector import Inspector


def test_it_passes_on_what_a_gate_finds_and_goes_on(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with Inspector("encode", layout) as gate:
        with pytest.raises(UserError, match="no table") as missing:
            gate.check_inputs()
        assert missing.value.next_step == "make it: dvc repro recaption"
        layout.latents.mkdir(parents=True)
        pl.DataFrame({"caption": ["one"]}).write_parquet(layout.latents / "index.parquet")
        with pytest.raises(UserError, match="breaks its contract"):
            gate.check_outputs()


def test_a_stage_without_tables_starts_no_process(tmp_path: Path) -> None:
    with Inspector("latency", Layout(tmp_path)) as gate:
        gate.check_inputs()
        gate.check_outputs()
        assert gate._process is None


def test_its_death_is_an_error_not_a_pass(tmp_path: Path) -> None:
    with Inspector("download", Layout(tmp_path)) as gate:
        assert gate._process is not None
        gate._process.kill()
        gate._process.wait()
        with pytest.raises(RuntimeError, match="ended with status -9"):
            gate.check_outputs()
