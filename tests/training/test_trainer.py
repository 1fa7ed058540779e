"""The training loop: exact to resume, atomic, and loud when something is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.params import Optim, Training
from hummingbird.runlog import SilentLog
from hummingbird.training import checkpoint, memory
from hummingbird.training.guard import CollapseError
from hummingbird.training.trainer import Trainer, step_seed


class Regression:
    """A small network with dropout and noise, so that any difference in randomness shows."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 1))

    @property
    def trainable(self) -> nn.Module:
        return self.net

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        target = batch.sum(dim=1, keepdim=True) + 0.1 * torch.randn(len(batch), 1)
        loss = (self.net(batch) - target).square().mean()
        return loss, {"double": 2 * loss.detach()}


def data(step: int) -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(step))


OPTIM = Optim(steps=30, batch_size=8, learning_rate=1e-2, warmup_steps=3, ema_decay=0.9)
EVERY_STEP = Training(checkpoint_every_steps=1)


class StoppedError(Exception):
    pass


class StopAt(SilentLog):
    """Ends the training when the metrics of a step arrive, before its checkpoint is written; remembers the steps."""

    def __init__(self, step: int | None, error: type[BaseException] = StoppedError) -> None:
        self.step, self.error = step, error
        self.steps: list[int] = []
        self.others: dict[str, float] = {}

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        if step is None:
            self.others.update(values)
        else:
            self.steps.append(step)
        if step is not None and step == self.step:
            raise self.error


def train(
    work: Path, stop_at: int | None = None, training: Training = EVERY_STEP, **changes: object
) -> tuple[Regression, list[dict[str, float]]]:
    method = Regression()
    optim = OPTIM.model_copy(update=changes)
    history = Trainer(method, data, optim, work=work, seed=3, log=StopAt(stop_at), training=training).fit()
    return method, history


def go_on(work: Path, optim: Optim = OPTIM) -> tuple[Regression, list[dict[str, float]], StopAt]:
    """Train to the end, and say which steps were taken."""
    method, log = Regression(), StopAt(None)
    history = Trainer(method, data, optim, work=work, seed=3, log=log, training=EVERY_STEP).fit()
    return method, history, log


@pytest.mark.parametrize("stop_at", [1, 2, 17, 29])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stop_at: int) -> None:
    whole, series = train(tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(tmp_path / "cut", stop_at=stop_at)
    resumed, again, log = go_on(tmp_path / "cut")
    assert log.steps == list(range(stop_at, 30))  # and none of those before
    assert again == series
    for (name, a), (_, b) in zip(whole.net.state_dict().items(), resumed.net.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    """A process that shoots itself in mid-training, then a second one: the same series as an undisturbed run."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        import test_trainer as t
        from hummingbird.training.trainer import Trainer
        from hummingbird.runlog import SilentLog
        class Shoot(SilentLog):
            def metrics(self, values, step=None):
                if step == 11:
                    os.kill(os.getpid(), signal.SIGKILL)
        work = Path(sys.argv[2])
        Trainer(t.Regression(), t.data, t.OPTIM, work=work, seed=3, log=Shoot(), training=t.EVERY_STEP).fit()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    _, resumed, log = go_on(tmp_path)
    assert log.steps[0] == 11
    assert resumed == train(tmp_path / "whole")[1]


class Interrupts(Regression):
    """Ctrl-C in the middle of a step; ``probe`` keeps the estimate of memory out of it."""

    def __init__(self, step: int, batch: int | None = None) -> None:
        super().__init__()
        self.step, self.batch = step, batch
        self.probe = super().loss

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if step == self.step and (self.batch is None or torch.equal(batch, data(self.batch))):
            raise KeyboardInterrupt
        return super().loss(batch, step)


@pytest.mark.parametrize("stop_at", [0, 1, 13])
def test_control_c_saves_the_last_whole_step_and_the_rest_equals_an_uninterrupted_run(
    tmp_path: Path, stop_at: int
) -> None:
    rarely = Training(checkpoint_every_s=1e9)
    with pytest.raises(KeyboardInterrupt):
        Trainer(Interrupts(stop_at), data, OPTIM, work=tmp_path / "cut", seed=3, log=SilentLog(), training=rarely).fit()
    assert [found.step for found in checkpoint.find(tmp_path / "cut")] == ([stop_at] if stop_at else [])
    resumed, again, log = go_on(tmp_path / "cut")
    assert log.steps[0] == stop_at
    whole, series = train(tmp_path / "whole")
    assert again == series
    assert torch.equal(whole.net[0].weight, resumed.net[0].weight)


def test_control_c_between_two_parts_of_the_first_step_leaves_nothing_to_trip_over(tmp_path: Path) -> None:
    two = OPTIM.model_copy(update={"accumulate": 2})
    with pytest.raises(KeyboardInterrupt):
        Trainer(Interrupts(0, batch=1), data, two, work=tmp_path, seed=3, log=SilentLog()).fit()
    assert checkpoint.find(tmp_path) == []


def test_what_goes_on_with_other_settings_follows_them_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(tmp_path / "stage/old", stop_at=10)
    (tmp_path / "stage/old").rename(tmp_path / "stage/new")
    other = OPTIM.model_copy(update={"learning_rate": 5e-3, "weight_decay": 0.5, "betas": (0.8, 0.9)})
    method, log = Regression(), StopAt(None)
    trainer = Trainer(method, data, other, work=tmp_path / "stage/new", seed=3, log=log, training=EVERY_STEP)
    history = trainer.fit()
    assert log.steps[0] == 10
    assert log.others["steps_with_other_settings"] == 10
    assert history[12]["lr"] == pytest.approx(train(tmp_path / "x", learning_rate=5e-3)[1][12]["lr"])
    group = trainer.learner.optimizer.param_groups[0]
    assert (group["weight_decay"], group["betas"]) == (0.5, (0.8, 0.9))


def test_fewer_steps_than_were_taken_are_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=20)
    with pytest.raises(UserError, match="at step 20, but 10 are asked for"):
        train(tmp_path, steps=10)


def test_a_checkpoint_of_other_weights_is_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=5)
    wider = Regression()
    wider.net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    with pytest.raises(UserError, match="holds other weights"):
        Trainer(wider, data, OPTIM, work=tmp_path, seed=3, log=SilentLog()).fit()


def test_half_precision_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fp16 is not trained on a CPU"):
        train(tmp_path, precision="fp16")


def test_the_loss_falls_and_figures_are_kept(tmp_path: Path) -> None:
    _, series = train(tmp_path, steps=150)
    assert [row["step"] for row in series] == list(range(150))
    first, last = (sum(row["loss"] for row in part) / 20 for part in (series[:20], series[-20:]))
    assert last < 0.7 * first
    assert series[5]["double"] == pytest.approx(2 * series[5]["loss"])


def test_accumulated_gradients_equal_those_of_the_large_batch(tmp_path: Path) -> None:
    class Mean:
        def __init__(self) -> None:
            self.net = nn.Linear(4, 1)
            nn.init.ones_(self.net.weight)

        @property
        def trainable(self) -> nn.Module:
            return self.net

        def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            return self.net(batch).square().mean(), {}

    halves = [torch.randn(4, 4, generator=torch.Generator().manual_seed(s)) for s in range(2)]
    split, large = Mean(), Mean()
    large.net.load_state_dict(split.net.state_dict())
    one = OPTIM.model_copy(update={"steps": 1, "warmup_steps": 0, "ema_decay": 0.0})
    two = one.model_copy(update={"accumulate": 2})
    a = Trainer(split, lambda s: halves[s], two, work=tmp_path / "a", seed=0, log=SilentLog()).fit()
    b = Trainer(large, lambda s: torch.cat(halves), one, work=tmp_path / "b", seed=0, log=SilentLog()).fit()
    assert a[0]["loss"] == pytest.approx(b[0]["loss"], rel=1e-6)
    assert a[0]["grad_norm"] == pytest.approx(b[0]["grad_norm"], rel=1e-6)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    class Breaks(Regression):
        def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            loss, figures = super().loss(batch, step)
            return (loss * float("nan") if step == 5 else loss), figures

    with pytest.raises(UserError, match="not finite at step 5"):
        Trainer(Breaks(), data, OPTIM, work=tmp_path, seed=3, log=SilentLog(), training=EVERY_STEP).fit()
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found.step == 5


class Scored:
    """A validation whose score is best at one step, and which notes the weights it saw."""

    every = 5

    def __init__(self, method: Regression, best: int) -> None:
        self.method, self.best = method, best
        self.seen: dict[int, Tensor] = {}

    def __call__(self, step: int) -> float:
        assert not self.method.net.training
        self.seen[step] = self.method.net[0].weight.detach().clone()
        return -abs(step - self.best)


def test_the_averaged_weights_of_the_best_validation_are_left(tmp_path: Path) -> None:
    method = Regression()
    scored = Scored(method, best=15)
    trainer = Trainer(
        method, data, OPTIM, work=tmp_path, seed=3, log=SilentLog(), training=EVERY_STEP, validation=scored
    )
    history = trainer.fit()
    assert sorted(scored.seen) == [5, 10, 15, 20, 25, 30]
    assert torch.equal(method.net[0].weight, scored.seen[15])
    assert history[14]["validation_score"] == 0
    averaged, _ = train(tmp_path / "unscored")
    assert torch.equal(averaged.net[0].weight, scored.seen[30])


def test_the_best_weights_survive_a_stop(tmp_path: Path) -> None:
    def run(work: Path, stop_at: int | None) -> Regression:
        method = Regression()
        trainer = Trainer(
            method,
            data,
            OPTIM,
            work=work,
            seed=3,
            log=StopAt(stop_at),
            training=EVERY_STEP,
            validation=Scored(method, best=15),
        )
        trainer.fit()
        return method

    whole = run(tmp_path / "whole", None)
    with pytest.raises(StoppedError):
        run(tmp_path / "cut", 22)
    resumed = run(tmp_path / "cut", None)
    assert torch.equal(whole.net[0].weight, resumed.net[0].weight)


def test_a_collapse_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    class Collapses:
        every = 10

        def __call__(self, step: int) -> None:
            if step == 20:
                raise CollapseError("flat", "look")

    trainer = Trainer(
        Regression(), data, OPTIM, work=tmp_path, seed=3, log=SilentLog(), training=EVERY_STEP, validation=Collapses()
    )
    with pytest.raises(CollapseError):
        trainer.fit()
    assert [(found.step, found.validated) for found in checkpoint.find(tmp_path)] == [(10, True)]


def test_parts_that_processes_cannot_share_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 3))
    with pytest.raises(UserError, match="3 processes cannot share the 4 parts"):
        train(tmp_path, accumulate=4)


def test_a_training_that_cannot_fit_is_refused_before_it_starts_and_one_that_goes_on_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoppedError):
        train(tmp_path / "cut", stop_at=5)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100)
    with pytest.raises(UserError, match="training needs at least"):
        train(tmp_path / "new")
    train(tmp_path / "cut")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_step_in_each_precision_is_finite_and_moves_the_weights(tmp_path: Path, precision: str) -> None:
    start = Regression().net[0].weight.detach().clone()
    method, series = train(tmp_path, steps=4, precision=precision, warmup_steps=0, ema_decay=0.0)
    assert all(np.isfinite(row["loss"]) for row in series)
    assert method.net[0].weight.dtype == torch.float32
    assert not torch.equal(method.net[0].weight, start)


def test_each_part_has_its_own_seed_and_the_first_that_of_the_step() -> None:
    assert len({step_seed(seed, step, part) for seed in range(10) for step in range(20) for part in range(5)}) == 1000
    assert step_seed(3, 7) == step_seed(3, 7, 0)


def test_the_best_weights_by_other_settings_are_never_published(tmp_path: Path) -> None:
    """Not even where a training with the new settings was stopped before it was validated for the first time."""

    def run(work: Path, stop_at: int | None, best: int, **changes: object) -> Trainer:
        method = Regression()
        trainer = Trainer(
            method,
            data,
            OPTIM.model_copy(update=changes),
            work=work,
            seed=3,
            log=StopAt(stop_at),
            training=EVERY_STEP,
            validation=Scored(method, best),
        )
        trainer.fit()
        return trainer

    with pytest.raises(StoppedError):
        run(tmp_path / "stage/old", 12, best=10)
    (tmp_path / "stage/old").rename(tmp_path / "stage/new")
    with pytest.raises(StoppedError):
        run(tmp_path / "stage/new", 14, best=1000, learning_rate=5e-3)
    trainer = run(tmp_path / "stage/new", None, best=1000, learning_rate=5e-3)
    assert trainer.best is not None and trainer.best["step"] == 30
    assert trainer.foreign == 12, "what was trained with other settings is forgotten at the second resume"


class Spoilt(Regression):
    """From ``step`` on the loss is a number and its gradients are not."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss, figures = super().loss(batch, step)
        if step >= self.step:
            loss = loss + (self.net[0].weight * 0).abs().sqrt().sum()  # sqrt'(0) is infinite, times 0
        return loss, figures


@pytest.mark.parametrize("step", [5, OPTIM.steps - 1])
def test_gradients_that_are_not_finite_never_reach_the_weights(tmp_path: Path, step: int) -> None:
    method = Spoilt(step)
    with pytest.raises(UserError, match=f"gradients of step {step} are not finite"):
        Trainer(method, data, OPTIM, work=tmp_path, seed=3, log=SilentLog(), training=EVERY_STEP).fit()
    assert all(p.isfinite().all() for p in method.net.parameters())
    _, _, log = go_on(tmp_path)
    assert log.steps[0] == step


def test_a_score_that_is_no_number_is_not_the_best(tmp_path: Path) -> None:
    class Nans(Scored):
        def __call__(self, step: int) -> float:
            score = super().__call__(step)
            return float("nan") if step == 5 else score

    method = Regression()
    trainer = Trainer(
        method, data, OPTIM, work=tmp_path, seed=3, log=SilentLog(), training=EVERY_STEP, validation=Nans(method, 15)
    )
    trainer.fit()
    assert trainer.best is not None and trainer.best["step"] == 15


def test_a_constant_rate_is_warmed_up_where_that_is_asked_for(tmp_path: Path) -> None:
    _, series = train(tmp_path, lr_schedule="constant", warmup_steps=10)
    rates = [row["lr"] for row in series]
    assert rates[0] < rates[5] < rates[10] == rates[-1] == OPTIM.learning_rate


def test_settings_that_were_never_trained_with_must_fit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoppedError):
        train(tmp_path / "stage/old", stop_at=10)
    (tmp_path / "stage/old").rename(tmp_path / "stage/new")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    with pytest.raises(UserError, match="more memory"):
        train(tmp_path / "stage/new")
