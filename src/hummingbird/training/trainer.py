"""One training loop for every objective: foundation models, the decoder, stage 1, stage 2, ReNeg and fine-tuning.

A *method* owns its losses, nothing else; *data* is a pure function of the number of a part. A step is made of
``optim.accumulate`` parts, which the processes that train together share. Before each part the global generators are
seeded from (seed, step, part): a run that is killed at any step and resumed gives the same losses and weights as one
that was not, without any generator state in the checkpoint, and two processes draw what one would have drawn.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch import Tensor

from hummingbird.data.prefetch import prefetched
from hummingbird.errors import UserError
from hummingbird.params import Optim, Precision, Training
from hummingbird.runlog import RunLog
from hummingbird.training import checkpoint, memory, processes, sharding
from hummingbird.training.guard import CollapseError, LossWatch
from hummingbird.training.learner import Learner, Method, networks_of

Data = Callable[[int], Any]
BEST = "best.pt"
_MIXED = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Validation(Protocol):
    """What is done every so many steps with the averaged weights in place, such as drawing samples."""

    @property
    def every(self) -> int:
        """Steps between two of them; 0 = never."""
        ...

    def __call__(self, step: int) -> float | None:
        """Look at the model after ``step`` steps; a score, if one is returned, is better when higher."""
        ...


def step_seed(seed: int, step: int, part: int = 0) -> int:
    """Seed of one part of a training step; independent streams for neighbours."""
    return int(np.random.SeedSequence([seed, step, part]).generate_state(1, np.uint64)[0] >> 1)


def _accelerator(precision: Precision, cpu: bool) -> Accelerator:
    """accelerate's view of the machine, at a precision of its own: phases of one process may differ in it."""
    if precision == "fp16" and cpu:
        raise UserError("fp16 is not trained on a CPU", "set precision to bf16 or fp32 in params.yaml")
    AcceleratorState._reset_state()  # it would keep the precision of the phase before
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=cpu)


class Trainer:
    """Trains ``method.trainable`` and leaves it holding the final weights: those of the best validation where it gives
    a score, else the averaged ones where an average is kept, else the last.

    Args:
        data: batch of a part, ``data(step * optim.accumulate + part)``; called in another thread, so it must not draw
            from torch's global generator.
        work: folder for checkpoints; must be outside DVC outputs.
        first_step: added to the steps in the log, where a stage trains in phases.
        on_cpu: train there even where there is a GPU: the method or its data know of no other device.

    Raises:
        UserError: ``optim.accumulate`` parts cannot be shared evenly by the processes, or do not fit in memory.
    """

    def __init__(
        self,
        method: Method,
        data: Data,
        optim: Optim,
        *,
        work: Path,
        seed: int,
        log: RunLog,
        training: Training = Training(),  # noqa: B008  # frozen
        validation: Validation | None = None,
        description: str = "training",
        first_step: int = 0,
        on_cpu: bool = False,
    ) -> None:
        self.method, self.data, self.optim, self.training = method, data, optim, training
        self.work, self.seed, self.log, self.validation = work, seed, log, validation
        self.description, self.first_step = description, first_step
        self.accelerator = _accelerator(optim.precision, on_cpu or not torch.cuda.is_available())
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        if optim.accumulate % self.world:
            raise UserError(
                f"{self.world} processes cannot share the {optim.accumulate} parts of a step of {description} evenly",
                "set accumulate in params.yaml to a multiple of that number, and batch_size down by as much",
            )
        self.parts = range(self.rank, optim.accumulate, self.world)  # of each step, those of this process
        self.settings = "/".join(work.parts[-2:])  # the work folder is named by them
        self._fit_into_memory()
        self.learner = Learner(method, optim, training, self.accelerator)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None
        self.saved = 0  # step of the newest checkpoint
        self.foreign = 0  # steps that were trained with other settings

    def fit(self) -> list[dict[str, float]]:
        """Run (or resume) to the last step; returns the logged series, one row a step.

        Raises:
            UserError: the loss is not finite or explodes, samples collapse, or a checkpoint cannot be written. The last
                good checkpoint stays.
        """
        start = self._resume()
        watch = LossWatch(self.training.guard, self.description, [row["loss"] for row in self.history])
        self.method.trainable.train()
        try:
            self._run(range(start, self.optim.steps), watch)
        except KeyboardInterrupt:
            new = len(self.history) != self.saved
            if new and watch.calm and self.learner.settled and self.world == 1:  # several may be at different steps
                self._save(len(self.history))
            raise
        self._finish()
        return self.history

    def _run(self, steps: range, watch: LossWatch) -> None:
        saved = time.monotonic()
        numbers = (step * self.optim.accumulate + part for step in steps for part in self.parts)
        with prefetched(self.data, numbers, self.training.prefetch) as batches:
            for step in self.log.progress(steps, self.description, len(steps)):
                row = self._step(step, batches, watch)
                self.history.append(row)
                self.log.metrics({k: v for k, v in row.items() if k != "step"}, self.first_step + step)
                validated = self._validate(step + 1)
                self.learner.settled = True  # from here on, and not before, all of this step is done
                # Before the first update, which fp16 may skip for a while, the optimiser has no state to save.
                if self.learner.updates and (validated or (watch.calm and self._is_due(step + 1, saved))):
                    self._save(step + 1, validated)
                    saved = time.monotonic()

    def _step(self, step: int, batches: Iterator[tuple[int, Any]], watch: LossWatch) -> dict[str, float]:
        sums: dict[str, Tensor] = {}
        for part in self.parts:
            batch = send_to_device(next(batches)[1], self.accelerator.device)
            torch.manual_seed(step_seed(self.seed, step, part))
            figures = self.learner.backward(batch, step, parts=len(self.parts), last=part == self.parts[-1])
            for key, value in figures.items():
                value = torch.as_tensor(value, dtype=torch.float64, device=self.accelerator.device)
                share = value / self.optim.accumulate
                sums[key] = sums[key] + share if key in sums else share
        means = self._together(sums)
        watch(means["loss"], step)  # before its gradients touch the weights
        return {"step": step, **means, **self.learner.update(step)}

    def _together(self, sums: dict[str, Tensor]) -> dict[str, float]:
        values: Tensor = self.accelerator.reduce(torch.stack(list(sums.values())), reduction="sum")
        return dict(zip(sums, values.tolist(), strict=True))

    def _validate(self, step: int) -> bool:
        """Whether the model was looked at after ``step`` steps, and found good."""
        look = self.validation
        if look is None or not look.every or (step % look.every and step != self.optim.steps):
            return False
        score: float | None = None
        collapse: tuple[str, str] | None = None
        with self.learner.averaged():
            try:
                score = look(step)
            except CollapseError as error:
                collapse = (error.problem, error.next_step)
            # GPUs may differ in the last digits, and all processes must do the same.
            score, collapse = processes.as_main((score, collapse))
            if score is not None:
                self.history[-1]["validation_score"] = score
                self._keep_best(step, score)
        if collapse is not None:
            if self.accelerator.is_main_process:
                checkpoint.drop_unvalidated(self.work)
            raise CollapseError(*collapse)
        return True

    def _keep_best(self, step: int, score: float) -> None:
        if math.isfinite(score) and (self.best is None or score > self.best["score"]):
            self.best = {"step": step, "score": score, "settings": self.settings, "weights": self.learner.weights()}
            if self.accelerator.is_main_process:
                checkpoint.write(self.work / BEST, self.best)

    def _is_due(self, step: int, saved: float) -> bool:
        every = self.training.checkpoint_every_steps
        due = time.monotonic() - saved > self.training.checkpoint_every_s or bool(every and step % every == 0)
        return processes.as_main(due)  # clocks differ

    def _save(self, step: int, validated: bool = False) -> None:
        state = self.learner.state_dict()
        if self.accelerator.is_main_process:
            found = checkpoint.Checkpoint(step, state, self.history, self.settings, self.foreign)
            checkpoint.save(self.work, found, validated=validated, keep=self.training.keep_checkpoints)
        self.saved = step
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        """Take up the newest checkpoint; returns the step to go on with."""
        found = checkpoint.load(self.work)
        if found is None:
            return 0
        if found.step > self.optim.steps:
            raise UserError(
                f"the checkpoint of {self.description} is at step {found.step}, but {self.optim.steps} are asked for",
                "raise steps in params.yaml; or start over: the same command with HUMMINGBIRD_OTHER_SETTINGS=restart",
            )
        self.learner.load_state_dict(found.state)
        self.history, self.saved = found.history, found.step
        self.foreign = found.foreign if found.settings == self.settings else found.step
        if self.foreign:
            self.log.metrics({"steps_with_other_settings": float(self.foreign)})
        if (self.work / BEST).is_file():
            best = checkpoint.read(self.work / BEST)
            self.best = best if best.get("settings") == self.settings else None  # scores by other settings say nothing
        return found.step

    def _finish(self) -> None:
        if self.saved != self.optim.steps:
            self._save(self.optim.steps)
        self.learner.finish(None if self.best is None else self.best["weights"])

    def _has_fitted(self) -> bool:
        """Whether these settings were trained with before."""
        found = checkpoint.find(self.work)
        return bool(found) and checkpoint.read(found[-1].path, mapped=True)["settings"] == self.settings

    def _fit_into_memory(self) -> None:
        """Put the network where it is trained. A training that cannot fit is refused; one that goes on has fitted."""
        device = self.accelerator.device
        network = self.method.trainable.to(device)
        if self.training.gradient_checkpointing:
            for part in networks_of(self.method):
                if getattr(part, "_supports_gradient_checkpointing", False):
                    part.enable_gradient_checkpointing()  # type: ignore[operator]  # a method of diffusers' models
        parameters = [p for p in network.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError("the method has nothing to train")
        # A network that is sharded already comes from the phase before, which had room.
        if self._has_fitted() or sharding.is_sharded(network):
            return
        gc.collect()  # of a phase before
        loss = getattr(self.method, "probe", self.method.loss)
        batch = send_to_device(self.data(0), device)
        needed = memory.estimate(loss, batch, parameters, self.optim, _MIXED[self.optim.precision])
        if self.training.strategy == "fsdp" and sharding.can_shard(network):
            needed = memory.shared(needed, self.world)
        free = memory.free_bytes(device) / (self.world if device.type == "cpu" else 1)
        memory.check(needed, free, device, self.training, self.description)
