"""Where everything lies in a project folder. The only place in the code that knows these paths (dvc.yaml repeats
them, and a test compares the two)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths below one project root. Folders are made by whoever writes to them.

    ``models``: the project whose foundation is used, where that is another one than ``root``.
    """

    root: Path = Path()
    models: Path | None = None

    def absolute(self) -> Layout:
        """The same with absolute paths, for work that may run in another folder."""
        return Layout(self.root.absolute(), self.models and self.models.absolute())

    # artifacts ---------------------------------------------------------------------------------------------
    @property
    def foundation(self) -> Path:
        return (self.models or self.root) / "artifacts/foundation"

    @property
    def decoder(self) -> Path:
        """The light decoder."""
        return self.root / "artifacts/decoder"

    @property
    def stage1(self) -> Path:
        return self.root / "artifacts/stage1"

    @property
    def stage2(self) -> Path:
        return self.root / "artifacts/stage2"

    @property
    def reneg(self) -> Path:
        return self.root / "artifacts/reneg"

    # data --------------------------------------------------------------------------------------------------
    @property
    def raw(self) -> Path:
        """Tar shards and the first clip table."""
        return self.root / "data/raw"

    @property
    def measure(self) -> Path:
        """Scores of every clip (``scores.parquet``), and strips of its frames by shard (``strips``)."""
        return self.root / "data/measure"

    @property
    def truth(self) -> Path:
        """What was done to each clip of the miniature world. Only evaluation may read it."""
        return self.root / "data/truth/truth.parquet"

    def clip_table(self, stage: str) -> Path:
        """Clip table as ``stage`` left it (``download``, ``vqa_filter``, ``motion_filter``, ``recaption``)."""
        folder = "raw" if stage == "download" else stage
        return self.root / "data" / folder / "clips.parquet"

    @property
    def latents(self) -> Path:
        return self.root / "data/latents"

    # reports -----------------------------------------------------------------------------------------------
    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def metrics(self, stage: str) -> Path:
        return self.reports / "metrics" / f"{stage}.json"

    def curve(self, stage: str) -> Path:
        """Training series of a stage, one row per logged step (``step,loss,...``)."""
        return self.reports / "curves" / f"{stage}.csv"

    def sheets(self, stage: str) -> Path:
        """Contact sheets of a stage (PNG)."""
        return self.reports / "sheets" / stage

    @property
    def vbench(self) -> Path:
        return self.reports / "vbench"

    @property
    def latency(self) -> Path:
        return self.reports / "latency"

    # scratch -----------------------------------------------------------------------------------------------
    def work(self, stage: str, key: str) -> Path:
        """Checkpoints of a running stage, keyed by the hash of its configuration. Outside every DVC output,
        because DVC deletes outputs before it reruns a stage."""
        return self.root / ".work" / stage / key
