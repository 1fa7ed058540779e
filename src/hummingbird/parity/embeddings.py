"""Golden sinusoidal embeddings, compared up to one unit in the last place of each frequency.

A frequency is a float32 exponential, which one processor rounds up and another down. The embedding multiplies it by up
to 15,000, so one unit moves an entry by as much as 1e-3: too much for a tolerance that would still catch a mistake.
Here each frequency may be the float32 below or above ours, the same one for all rows, and then its entries must agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hummingbird.parity.golden import Case

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Waves:
    """What an embedding [B, D] was made of: the sine and the cosine of ``factors`` [B] times each frequency.

    Args:
        ours: as our code computes it.
        frequencies: [D // 2], float32.
        sine_first: whether the sines are the left half.
    """

    ours: Tensor
    factors: Tensor
    frequencies: Tensor
    sine_first: bool

    def compare(self, name: str, golden: Tensor, columns: slice = slice(None)) -> Case:
        """Compare ``golden`` [B, K] with these columns of ours."""
        variants = [self.ours, self._shifted(torch.inf), self._shifted(-torch.inf)]
        if golden.shape != self.ours[:, columns].shape:
            return Case.compare(name, self.ours[:, columns], golden, TOLERANCE)
        errors = torch.stack([(it[:, columns].double() - golden).abs().amax(dim=0) for it in variants])
        return Case(name, float(errors.amin(dim=0).max()), TOLERANCE)

    def row_sums(self, name: str, golden: Tensor) -> Case:
        """Compare the sums of rows [B], in which any frequency may be off: by as much as all of them together."""
        shifts = [(self._shifted(way) - self.ours).abs().sum(dim=1) for way in (torch.inf, -torch.inf)]
        return Case.compare(name, self.ours.double().sum(dim=1), golden, float(torch.stack(shifts).max()) + TOLERANCE)

    def _shifted(self, towards: float) -> Tensor:
        """The embedding with each frequency one unit in the last place nearer to ``towards``."""
        angles = self.factors.float()[:, None] * self.frequencies.nextafter(torch.tensor(towards))
        waves = [angles.sin(), angles.cos()]
        shifted = torch.cat(waves if self.sine_first else waves[::-1], dim=1)
        return F.pad(shifted, (0, self.ours.shape[1] - shifted.shape[1]))
