"""Videos of the same prompts and seeds while a model trains: to look at, to see a collapse early, and to score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.params import Guard
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog
from hummingbird.training import processes
from hummingbird.training.guard import check_samples

SHOWN = 6  # prompts on a sheet
AT_ONCE = 8  # videos of a batch
#: Scores videos [B, T, 3, H, W] in 0..1 of prompts: named figures, and the one to choose by.
Scorer = Callable[[Tensor, Sequence[str]], tuple[Mapping[str, float], float]]


class Validation:
    """Draws videos of fixed prompts and seeds every so many steps; a trainer's ``validation``.

    They go to the log, and onto a contact sheet, in the log and in a folder, and are checked for collapse.

    Args:
        captions: those of the clips; the first :data:`SHOWN` are the prompts.
        every: steps between two of them; 0 = never.
        offset: added to the step, where a stage trains in phases.
        scorer, scored: judges the videos of other prompts; its score is the model's.

    Raises:
        CollapseError: from a call whose videos are one flat colour, or noise.
    """

    def __init__(
        self,
        pipeline: TextToVideoPipeline,
        captions: Sequence[str],
        every: int,
        *,
        folder: Path,
        log: RunLog,
        guard: Guard,
        offset: int = 0,
        scorer: Scorer | None = None,
        scored: Sequence[str] = (),
    ) -> None:
        self.pipeline, self.prompts, self.every = pipeline, list(captions[:SHOWN]), every
        self.folder, self.log, self.guard, self.offset = folder, log, guard, offset
        self.scorer, self.scored = scorer, list(scored)

    def __call__(self, step: int) -> float | None:
        """Draw, look and score after ``step`` steps; every process draws, the main one writes."""
        at = self.offset + step
        videos = self._draw(self.prompts)
        if processes.is_main():
            sheet = contact_sheet(list(videos), self.prompts)
            save_sheet(sheet, self.folder / f"step_{at:06d}.png")
            self.log.image("samples", sheet, at)
            for number, video in enumerate(videos):
                self.log.video(f"samples/step_{at:06d}/{number}", video, self.pipeline.config.fps)
        self.log.metrics(check_samples(_scaled(videos), self.guard, step), at)
        if self.scorer is None or not self.scored:
            return None
        figures, score = self.scorer(_scaled(self._draw(self.scored)), self.scored)
        self.log.metrics(figures, at)
        return score

    def _draw(self, prompts: Sequence[str]) -> NDArray[np.uint8]:
        """Videos [B, T, H, W, 3], a few at a time; the i-th has seed i."""
        chunks = [range(first, min(first + AT_ONCE, len(prompts))) for first in range(0, len(prompts), AT_ONCE)]
        drawn = [self.pipeline([prompts[i] for i in chunk], seeds=list(chunk)) for chunk in chunks]
        return np.concatenate([np.asarray(videos) for videos in drawn])


def _scaled(videos: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, T, H, W, 3] -> [B, T, 3, H, W] in 0..1."""
    return torch.from_numpy(videos).movedim(-1, -3).float() / 255
