"""One training loop for every objective: foundation models, stage 1, stage 2 and ReNeg.

A *method* owns its losses, nothing else; *data* is a pure function of the step. Before each step the global generator
is seeded from (seed, step), so a run that is killed at any step and resumed gives the same losses and weights as one
that was not, without any generator state in the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training import checkpoint

Data = Callable[[int], Any]
Callback = Callable[[int], None]


class Method(Protocol):
    """An objective: what is trained and what its loss is."""

    @property
    def trainable(self) -> nn.Module:
        """The module whose parameters with ``requires_grad`` are optimised."""
        ...

    def loss(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss of one batch, and figures to log."""
        ...


def config_key(*parts: Any) -> str:
    """Short hash of a configuration; names the work folder, so that other settings never resume each other."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def step_seed(seed: int, step: int) -> int:
    """Seed of one training step; independent streams for neighbouring steps."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


class Trainer:
    """Trains ``method.trainable`` and leaves it holding the final (EMA, where asked for) weights.

    Args:
        data: batch of a step, ``data(step)``.
        work: folder for the checkpoint; must be outside DVC outputs.
        on_step: called after every step with its number (from 1), e.g. to draw samples.
        first_step: added to the steps in the log, where a stage trains in phases.
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
        on_step: Callback | None = None,
        description: str = "training",
        first_step: int = 0,
    ) -> None:
        self.method, self.data, self.optim = method, data, optim
        self.path = work / "checkpoint.pt"
        self.seed, self.log, self.on_step = seed, log, on_step
        self.description, self.first_step = description, first_step
        precision = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[optim.precision]
        self.accelerator = Accelerator(mixed_precision=precision, gradient_accumulation_steps=1)
        self.parameters = [p for p in method.trainable.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("the method has nothing to train")
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.schedule = get_scheduler(
            optim.lr_schedule,
            self.optimizer,
            num_warmup_steps=optim.warmup_steps,
            num_training_steps=optim.steps,
        )
        self.ema = EMAModel(self.parameters, decay=optim.ema_decay) if optim.ema_decay else None
        self.history: list[dict[str, float]] = []

    def fit(self) -> list[dict[str, float]]:
        """Run (or resume) to the last step; returns the logged series, one row a step.

        Raises:
            UserError: the loss is not finite, or the checkpoint cannot be written.
        """
        start = self._resume()
        model = self.method.trainable
        model.train()
        saved = time.monotonic()
        try:
            for step in self.log.progress(range(start, self.optim.steps), self.description, self.optim.steps - start):
                row = self._step(step)
                self.history.append(row)
                self.log.metrics({k: v for k, v in row.items() if k != "step"}, self.first_step + step)
                if time.monotonic() - saved > self.optim.checkpoint_every_s:
                    self._save(step + 1)
                    saved = time.monotonic()
                if self.on_step is not None:
                    self.on_step(step + 1)
        except KeyboardInterrupt:
            self._save(len(self.history))
            raise
        self._save(self.optim.steps)
        if self.ema is not None:
            self.ema.copy_to(self.parameters)
        model.eval()
        return self.history

    def _step(self, step: int) -> dict[str, float]:
        torch.manual_seed(step_seed(self.seed, step))
        figures: dict[str, float] = {}
        total = 0.0
        for part in range(self.optim.accumulate):
            batch = self.data(step * self.optim.accumulate + part)
            with self.accelerator.autocast():
                loss, extra = self.method.loss(batch, step)
            total += float(loss.detach()) / self.optim.accumulate
            if not math.isfinite(total):
                raise UserError(
                    f"the loss of {self.description} is not finite at step {step}",
                    "lower the learning rate or max_grad_norm in params.yaml; the last good checkpoint is kept",
                )
            self.accelerator.backward(loss / self.optim.accumulate)
            for key, value in extra.items():
                figures[key] = figures.get(key, 0.0) + value / self.optim.accumulate
        norm = nn.utils.clip_grad_norm_(self.parameters, self.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        rate = self.schedule.get_last_lr()[0]
        self.schedule.step()
        if self.ema is not None:
            self.ema.step(self.parameters)
        return {"step": step, "loss": total, **figures, "grad_norm": float(norm), "lr": rate}

    # -------------------------------------------------------------------------------------------- persistence

    def _save(self, step: int) -> None:
        state = {
            "parameters": [p.detach() for p in self.parameters],
            "buffers": dict(self.method.trainable.named_buffers()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
        }
        checkpoint.save(self.path, checkpoint.Checkpoint(step, state, self.history))

    def _resume(self) -> int:
        found = checkpoint.load(self.path)
        if found is None:
            return 0
        with torch.no_grad():
            for parameter, value in zip(self.parameters, found.state["parameters"], strict=True):
                parameter.copy_(value)
            for name, buffer in self.method.trainable.named_buffers():
                buffer.copy_(found.state["buffers"][name])
        self.optimizer.load_state_dict(found.state["optimizer"])
        self.schedule.load_state_dict(found.state["schedule"])
        if self.ema is not None:
            self.ema.load_state_dict(found.state["ema"])
        self.history = found.history
        return found.step
