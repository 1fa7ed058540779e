"""The gates' own process: it answers as the gates do, outlives a failed check and says so if it dies."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from hummingbird.data.latent_shards import INDEX_SCHEMA
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops.inspector import Inspector
from hummingbird.params import Params, dump_params


def test_one_process_checks_many_tables_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with Inspector(layout) as gate:
        with pytest.raises(UserError, match="no table") as missing:
            gate.check("recaption")
        assert missing.value.next_step == "make it: dvc repro recaption"
        layout.latents.mkdir(parents=True)
        pl.DataFrame({"caption": ["one"]}).write_parquet(layout.latents / "index.parquet")
        with pytest.raises(UserError, match="breaks its contract"):
            gate.check("encode")
        row = {"clip_id": "a", "shard": "0", "frame_offset": 0, "num_frames": 8, "text_row": 0, "fps": 8.0}
        pl.DataFrame([{**row, "caption": "one"}], schema=INDEX_SCHEMA).write_parquet(layout.latents / "index.parquet")
        (tmp_path / "params.yaml").write_text(dump_params(Params()))
        gate.check("encode")


def test_its_death_is_an_error_not_a_pass(tmp_path: Path) -> None:
    with Inspector(Layout(tmp_path)) as gate:
        assert gate._process is not None
        gate._process.kill()
        gate._process.wait()
        with pytest.raises(RuntimeError, match="ended with status -9"):
            gate.check("download")
