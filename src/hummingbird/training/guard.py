"""When to give a training up: before it has wasted a night, and with its last good state kept."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np
from torch import Tensor

from hummingbird.errors import UserError
from hummingbird.params import Guard

WINDOW = 100  # steps that say what is usual
FEWEST = 20  # of them


class CollapseError(UserError):
    """Validation samples are one flat colour, or noise."""


class LossWatch:
    """Follows a loss, and stops a training whose loss is not finite or has exploded.

    A loss may be negative (rewards) and falls over time, so "usual" is the median of the last steps, and its size the
    larger of that median and the distance between their quartiles. One bad batch is not an explosion: it takes
    ``guard.patience`` steps in a row.

    Args:
        losses: those of the steps before, of a training that goes on.
    """

    def __init__(self, guard: Guard, description: str, losses: Iterable[float] = ()) -> None:
        self.guard, self.description = guard, description
        self.usual: deque[float] = deque(maxlen=WINDOW)
        self.streak = 0
        for loss in losses:
            self._add(loss)

    @property
    def calm(self) -> bool:
        """Whether the last step was a usual one: only then is a checkpoint worth keeping."""
        return self.streak == 0

    def __call__(self, loss: float, step: int) -> None:
        """Look at the loss of ``step``.

        Raises:
            UserError: it is not finite, or too large for too long.
        """
        if not math.isfinite(loss):
            raise UserError(f"the loss of {self.description} is not finite at step {step}", self._next_step)
        if self._add(loss) >= self.guard.patience:
            raise UserError(
                f"the loss of {self.description} has exploded: {loss:.3g} at step {step}, where "
                f"{float(np.median(self.usual)):.3g} is usual",
                self._next_step,
            )

    _next_step = "lower learning_rate or max_grad_norm in params.yaml; the last good checkpoint is kept"

    def _add(self, loss: float) -> int:
        if len(self.usual) >= FEWEST:
            low, middle, high = np.quantile(self.usual, [0.25, 0.5, 0.75])
            if loss - middle > self.guard.explosion * max(abs(middle), high - low):
                self.streak += 1
                return self.streak
        self.usual.append(loss)
        self.streak = 0
        return 0


def check_samples(videos: Tensor, guard: Guard, step: int) -> dict[str, float]:
    """Spread and flicker of validation samples [B, T, 3, H, W] in 0..1.

    Spread is the median over the videos of the deviation of their pixels, flicker the mean difference of neighbouring
    frames.

    Raises:
        CollapseError: one of them is out of the guard's bounds.
    """
    spread = float(videos.flatten(1).std(dim=1).median())
    flicker = float((videos[:, 1:] - videos[:, :-1]).abs().mean()) if videos.shape[1] > 1 else 0.0
    figures = {"samples/spread": spread, "samples/flicker": flicker}
    if spread < guard.min_spread:
        problem = f"are nearly one flat colour (spread {spread:.3g}, training.guard.min_spread {guard.min_spread})"
    elif flicker > guard.max_flicker:
        problem = f"flicker like noise ({flicker:.3g}, training.guard.max_flicker {guard.max_flicker})"
    else:
        return figures
    raise CollapseError(
        f"the model has collapsed: the samples of step {step} {problem}",
        "look at them (contact sheets of the stage); lower learning_rate, or raise the anchor's weight, in params.yaml",
    )
