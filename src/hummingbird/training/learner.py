"""What a training changes: the network's weights, their average, and the state of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from hummingbird.errors import UserError
from hummingbird.params import Optim, Training
from hummingbird.training import sharding
from hummingbird.training.optimisation import make_optimizer, make_schedule, move_to

Figures = Mapping[str, Tensor | float]
#: States hold whole tensors, on the CPU, of what is trained only.
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
_PARTIAL = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)


class Method(Protocol):
    """An objective: what is trained and what its loss is.

    What a method may have besides: ``after_step(step)``, told when the weights have been updated; ``state_dict()`` and
    ``load_state_dict(state)``, for what is part of a checkpoint; ``networks``, those that gradients go through, where
    that is not ``trainable`` alone, to be compiled and checkpointed; ``probe(batch, step)``, the loss without what it
    does without gradient, where that is much, by which its memory is estimated.
    """

    @property
    def trainable(self) -> nn.Module:
        """The module whose parameters with ``requires_grad`` are optimised."""
        ...

    def loss(self, batch: Any, step: int) -> tuple[Tensor, Figures]:
        """Scalar loss of one part, and detached figures to log. Takes no number out of a tensor, so that it can be
        estimated without values."""
        ...


def networks_of(method: Method) -> Sequence[nn.Module]:
    """The networks that a method's gradients go through."""
    found: Sequence[nn.Module] = getattr(method, "networks", [method.trainable])
    return found


class _Objective(nn.Module):
    """A method's loss as the forward pass of its network, so that DDP sees all uses of the network as one."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method, self.trainable = method, method.trainable

    def forward(self, batch: Any, step: int) -> tuple[Tensor, Figures]:
        return self.method.loss(batch, step)


class Learner:
    """A method's network under training, in one process or a share of several.

    Attributes:
        parameters: what is optimised.
        settled: False while the weights are between two states, neither of which would be right to save.

    Raises:
        UserError: the optimiser is not installed, or fp16 is asked for with sharded weights.
    """

    def __init__(self, method: Method, optim: Optim, training: Training, accelerator: Accelerator) -> None:
        self.method, self.optim, self.accelerator = method, optim, accelerator
        self.network = method.trainable
        if training.compile:
            for network in networks_of(method):
                network.compile()
        self.sharded = training.strategy == "fsdp" and accelerator.num_processes > 1 and sharding.shard(self.network)
        if self.sharded and optim.precision == "fp16":
            raise UserError("fp16 with strategy fsdp is not supported", "use precision: bf16, or strategy: ddp")
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = make_optimizer(self.parameters, optim)
        self.schedule = make_schedule(optimizer, optim)
        self.optimizer = accelerator.prepare(optimizer)
        objective = _Objective(method)
        self.objective = objective if self.sharded else accelerator.prepare(objective)
        self.ema = EMAModel(self.parameters, decay=optim.ema_decay) if optim.ema_decay else None
        self.updates = 0  # fewer than steps where fp16 skipped some
        self.settled = False  # before the first update the optimiser has no state to save

    def backward(self, batch: Any, step: int, *, parts: int, last: bool) -> Figures:
        """Add one of ``parts`` parts of a step to the gradients; the processes' are averaged with the ``last``."""
        if self.sharded:
            self.network.set_requires_gradient_sync(last)  # type: ignore[operator]  # added by fully_shard
        silent = not last and not self.sharded
        syncing: AbstractContextManager[Any] = self.accelerator.no_sync(self.objective) if silent else nullcontext()
        with syncing:
            with self.accelerator.autocast():
                loss, figures = self.objective(batch, step)
            self.accelerator.backward(loss / parts)
        return {"loss": loss.detach(), **figures}

    def update(self, step: int) -> dict[str, float]:
        """Clip the gradients and take the step; returns their norm before, and the learning rate.

        Raises:
            UserError: a gradient is not finite. The weights are as they were.
        """
        norm = float(sharding.whole(self.accelerator.clip_grad_norm_(self.parameters, self.optim.max_grad_norm)))
        if not math.isfinite(norm) and self.accelerator.scaler is None:  # fp16's scaler skips such a step itself
            raise UserError(
                f"the gradients of step {step} are not finite, though the loss is",
                "lower learning_rate in params.yaml, or set precision to fp32; the last good checkpoint is kept",
            )
        rate = self.schedule.get_last_lr()[0]
        self.settled = False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if not self.accelerator.optimizer_step_was_skipped:
            self.updates += 1
            self.schedule.step()
            if self.ema is not None:
                self.ema.step(self.parameters)
        if hasattr(self.method, "after_step"):
            self.method.after_step(step)
        return {"grad_norm": norm, "lr": float(rate)}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network as it would be published: averaged weights, evaluation mode."""
        self.settled = False
        if self.ema is not None:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
            sharding.forget_gathered(self.network)
        self.network.eval()
        try:
            yield
        finally:
            self.network.train()
            if self.ema is not None:
                self.ema.restore(self.parameters)
                sharding.forget_gathered(self.network)
        self.settled = True

    def weights(self) -> list[Tensor]:
        """Copies of the parameters as they are, whole and on the CPU."""
        return [sharding.whole(p.detach()).cpu().clone() for p in self.parameters]

    def finish(self, weights: list[Tensor] | None) -> None:
        """Leave ``weights`` in the network, or the averaged ones where there are any."""
        if weights is not None:
            sharding.assign(self.parameters, weights)
        elif self.ema is not None:
            self.ema.copy_to(self.parameters)
        self.network.eval()

    # ------------------------------------------------------------------------------------------------ persistence

    def state_dict(self) -> dict[str, Any]:
        """Everything that a training needs to go on; every process must ask for it."""
        ema = None
        if self.ema is not None:
            shadow = [sharding.whole(value) for value in self.ema.shadow_params]
            ema = {"shadow": shadow, "step": self.ema.optimization_step}
        scaler = self.accelerator.scaler
        return {
            "model": get_model_state_dict(self.objective, options=_WHOLE),
            "optimizer": get_optimizer_state_dict(self.objective, self.optimizer.optimizer, options=_WHOLE),
            "updates": self.updates,
            "ema": ema,
            "scaler": scaler.state_dict() if scaler else None,
            "method": self.method.state_dict() if hasattr(self.method, "state_dict") else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave. What the settings say of the optimiser and its rate, they still say.

        Raises:
            UserError: the state is of other weights.
        """
        inner = self.optimizer.optimizer
        said = [{name: value for name, value in group.items() if name != "params"} for group in inner.param_groups]
        try:
            set_model_state_dict(self.objective, state["model"], options=_PARTIAL)
            set_optimizer_state_dict(self.objective, inner, state["optimizer"], options=_WHOLE)
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(
                f"the checkpoint holds other weights than these settings train: {str(error).splitlines()[0]}",
                "put the settings back; or start over: the same command with HUMMINGBIRD_OTHER_SETTINGS=restart",
            ) from error
        for group, values in zip(inner.param_groups, said, strict=True):
            group.update(values)
        self.updates = state["updates"]
        move_to(self.schedule, self.updates)
        if self.ema is not None and state["ema"] is not None:
            sharding.assign(self.ema.shadow_params, state["ema"]["shadow"])
            self.ema.optimization_step = state["ema"]["step"]
        if self.accelerator.scaler and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if hasattr(self.method, "load_state_dict"):
            self.method.load_state_dict(state["method"])
