"""Which blocks matter: the distillation loss of a teacher without one of them.

The loss is that of stage 1a (:mod:`~hummingbird.training.methods.cfg_distillation`): squared error between the changed
network's prediction and the intact teacher's, at a timestep of the solver grid, for a guidance scale drawn as in
training. A teacher has no guidance embedding, so both are taken after classifier-free guidance; intact, the loss is 0.

The consistency loss of stage 1b is no measure of this. Its target is made by the changed network itself: a network
that always answers the same would be consistent, and the intact teacher, which was never made consistent, is not.

Nothing is trained here. What distillation can repair is not seen, so a large loss says that a block does much, not that
a student could not do without it.

Every change is measured on the same clips, noise, timesteps and guidance scales, all of them functions of the seed and
the number of the batch, so that differences between changes are free of their chance.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.models.leave_out import left_out
from hummingbird.models.noise import NoiseSchedule, solver_timesteps
from hummingbird.models.pruning import PruningPlan, prune
from hummingbird.models.unet import VideoUNet
from hummingbird.runlog import RunLog
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.trainer import step_seed


@dataclass(frozen=True)
class Change:
    """Something done to the teacher.

    Args:
        left_out: the blocks that are missing.
        plan: prune by it, without training, in place of leaving the blocks out where they stand.
    """

    name: str
    left_out: tuple[str, ...]
    plan: PruningPlan | None = None


@dataclass(frozen=True)
class Draws:
    """On what the losses are measured.

    Args:
        data: batch of latents by its number, see :meth:`~hummingbird.data.latents.LatentDataset.batches`.
        guidance: range of guidance scales (``uncond + g (cond - uncond)``), drawn uniformly.
        solver_steps: size of the DDIM grid that timesteps are drawn from.
    """

    data: Callable[[int], dict[str, Any]]
    batches: int
    seed: int
    guidance: tuple[float, float]
    solver_steps: int

    def query(self, number: int, schedule: NoiseSchedule, device: str) -> tuple[Tensor, ...]:
        """Batch ``number``, as :class:`GuidedTeacher` takes it; drawn on the CPU, so the same on every device."""
        batch = self.data(number)
        clean = batch["latents"]
        grid = solver_timesteps(schedule.num_timesteps, self.solver_steps)
        generator = torch.Generator().manual_seed(step_seed(self.seed, number))
        timesteps = grid[torch.randint(len(grid), (len(clean),), generator=generator)]
        guidance = torch.empty(len(clean)).uniform_(*self.guidance, generator=generator)
        noisy = schedule.add_noise(clean, torch.randn(clean.shape, generator=generator), timesteps)
        return tuple(part.to(device) for part in (noisy, timesteps, batch["text"], guidance, batch["fps"]))


@dataclass(frozen=True)
class Losses:
    """Result of :meth:`ImportanceStudy.measure`.

    Args:
        samples: by change, the mean squared error of each sample.
        variance: of all elements of the teacher's guided predictions; the loss of the best constant.
    """

    samples: dict[str, list[float]]
    variance: float

    def relative(self, name: str) -> tuple[float, float]:
        """Mean loss of a change and its standard error over samples, both divided by the variance."""
        losses = self.samples[name]
        error = statistics.stdev(losses) / math.sqrt(len(losses))
        return statistics.fmean(losses) / self.variance, error / self.variance


class ImportanceStudy:
    """Measures changes of a teacher, one after the other; those in the work file are not measured again.

    Args:
        teacher: without guidance embedding; frozen here.
        null_text: embedding of the empty prompt, [1, L, D].
        work: folder for the results so far; it must belong to this teacher and these draws alone.
    """

    def __init__(
        self,
        teacher: VideoUNet,
        null_text: Tensor,
        schedule: NoiseSchedule,
        draws: Draws,
        *,
        work: Path,
        device: str,
        log: RunLog,
    ) -> None:
        self.teacher, self.null_text = teacher.to(device), null_text.to(device)
        self.schedule, self.draws, self.device, self.log = schedule, draws, device, log
        self.path = work / "losses.json"

    def measure(self, changes: Sequence[Change]) -> Losses:
        """The losses of ``changes``.

        Raises:
            UserError: a plan does not fit the teacher, a prediction is not finite, or the work file cannot be read or
                written.
        """
        done = self._resume()
        targets = self._targets()
        pending = [change for change in changes if change.name not in done]
        for change in self.log.progress(pending, "leaving out", len(pending)):
            with self._changed(change) as network:
                done[change.name] = self._losses(network, targets, change.name)
            write_json(self.path, done)
        return Losses({change.name: done[change.name] for change in changes}, _variance(targets))

    def _resume(self) -> dict[str, list[float]]:
        try:
            return read_json(self.path)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self.path} cannot be read: {error}", f"delete it to start over: rm {self.path}"
            ) from error

    def _targets(self) -> list[Tensor]:
        """The intact teacher's guided predictions, by batch; kept on the CPU."""
        guided, numbers = GuidedTeacher(self.teacher, self.null_text), range(self.draws.batches)
        return [self._predict(guided, n, "the teacher") for n in self.log.progress(numbers, "teacher", len(numbers))]

    def _losses(self, network: VideoUNet, targets: Sequence[Tensor], name: str) -> list[float]:
        guided = GuidedTeacher(network, self.null_text)
        losses: list[float] = []
        for number, target in enumerate(targets):
            difference = self._predict(guided, number, name) - target
            losses += difference.square().flatten(1).mean(dim=1).tolist()
        return losses

    def _predict(self, guided: GuidedTeacher, number: int, name: str) -> Tensor:
        noisy, timesteps, text, guidance, fps = self.draws.query(number, self.schedule, self.device)
        prediction = guided(noisy, timesteps, text, guidance, fps).cpu()
        if not prediction.isfinite().all():
            raise UserError(
                f"a prediction of {name} is not finite, batch {number}",
                "check the latents (dvc repro encode) and the teacher's checkpoint; one of them is damaged",
            )
        return prediction

    @contextmanager
    def _changed(self, change: Change) -> Iterator[VideoUNet]:
        if change.plan is not None:
            yield prune(self.teacher, change.plan, guidance_dim=None).to(self.device)
        else:
            with left_out(self.teacher, change.left_out):
                yield self.teacher


def _variance(batches: Sequence[Tensor]) -> float:
    count = sum(batch.numel() for batch in batches)
    mean = sum(float(batch.sum(dtype=torch.float64)) for batch in batches) / count
    return sum(float((batch.double() - mean).square().sum()) for batch in batches) / count
