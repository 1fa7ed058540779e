"""The training loop: exact to resume, atomic, and loud when something is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.params import Optim
from hummingbird.runlog import SilentLog
from hummingbird.training import checkpoint
from hummingbird.training.trainer import Trainer, config_key, step_seed


class Regression:
    """A small network with dropout and noise, so that any difference in randomness shows."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 1))

    @property
    def trainable(self) -> nn.Module:
        return self.net

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
        target = batch.sum(dim=1, keepdim=True) + 0.1 * torch.randn(len(batch), 1)
        loss = (self.net(batch) - target).square().mean()
        return loss, {"double": 2 * float(loss.detach())}


def data(step: int) -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(step))


OPTIM = Optim(steps=30, batch_size=8, learning_rate=1e-2, warmup_steps=3, ema_decay=0.9, checkpoint_every_s=1e-9)


class StoppedError(Exception):
    pass


def train(work: Path, stop_at: int | None = None, **changes: object) -> tuple[Regression, list[dict[str, float]]]:
    method = Regression()

    def stop(step: int) -> None:
        if step == stop_at:
            raise StoppedError

    optim = OPTIM.model_copy(update=changes)
    history = Trainer(method, data, optim, work=work, seed=3, log=SilentLog(), on_step=stop).fit()
    return method, history


@pytest.mark.parametrize("stop_at", [1, 2, 17, 29])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stop_at: int) -> None:
    whole, series = train(tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(tmp_path / "cut", stop_at=stop_at)
    resumed, again = train(tmp_path / "cut")
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
        def shoot(step):
            if step == 11:
                os.kill(os.getpid(), signal.SIGKILL)
        Trainer(t.Regression(), t.data, t.OPTIM, work=Path(sys.argv[2]), seed=3, log=SilentLog(), on_step=shoot).fit()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    _, resumed = train(tmp_path)
    assert resumed == train(tmp_path / "whole")[1]


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

        def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
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
        def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
            loss, figures = super().loss(batch, step)
            return (loss * float("nan") if step == 5 else loss), figures

    with pytest.raises(UserError, match="not finite at step 5"):
        Trainer(Breaks(), data, OPTIM, work=tmp_path, seed=3, log=SilentLog()).fit()
    found = checkpoint.load(tmp_path / "checkpoint.pt")
    assert found is not None
    assert found.step == 5


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, checkpoint.Checkpoint(4, {"x": torch.ones(2)}, []))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(path, checkpoint.Checkpoint(5, {}, []))
    monkeypatch.undo()
    kept = checkpoint.load(path)
    assert kept is not None
    assert kept.step == 4
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"half a checkp")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(path)


def test_other_settings_get_another_work_folder() -> None:
    assert config_key(OPTIM.model_dump(), 1) != config_key(OPTIM.model_copy(update={"steps": 31}).model_dump(), 1)
    assert config_key(OPTIM.model_dump(), 1) == config_key(OPTIM.model_dump(), 1)
    assert len({step_seed(seed, step) for seed in range(20) for step in range(50)}) == 1000
