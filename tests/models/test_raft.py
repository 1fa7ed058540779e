"""RAFT. The network itself is torchvision's: its part of these tests needs a torchvision that fits the torch here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hummingbird.errors import UserError
from hummingbird.models.raft import estimate_flow, load_raft


@pytest.fixture
def raft() -> Any:
    try:
        from torchvision.models.optical_flow import raft_large
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no usable torchvision: {error}")
    torch.manual_seed(0)
    return raft_large(weights=None).eval()


def test_without_torchvision_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    with pytest.raises(UserError, match="RAFT needs torchvision") as caught:
        load_raft(tmp_path / "raft.pth")
    assert "install" in caught.value.next_step


def test_frames_are_padded_to_what_the_network_takes_and_the_flow_is_cut_back() -> None:
    seen: dict[str, Any] = {}

    class Probe(torch.nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
            seen.update(first=first, second=second, updates=num_flow_updates)
            return [torch.zeros(0), torch.stack([first[:, 0], second[:, 0]], dim=1)]

    first, second = torch.rand(2, 3, 100, 205), torch.rand(2, 3, 100, 205)
    flow = estimate_flow(Probe(), first, second, updates=5)
    assert seen["first"].shape == (2, 3, 128, 208) and seen["updates"] == 5
    assert torch.equal(seen["first"][..., :100, :205], first * 2 - 1)
    assert torch.equal(flow, torch.stack([first[:, 0], second[:, 0]], dim=1) * 2 - 1)


def test_weights_come_back(raft: Any, tmp_path: Path) -> None:
    save_file(raft.state_dict(), tmp_path / "raft.safetensors")
    loaded = load_raft(tmp_path / "raft.safetensors")
    assert sum(it.numel() for it in loaded.parameters()) == 5_257_536
    assert all(torch.equal(it, raft.state_dict()[name]) for name, it in loaded.state_dict().items())
    frames = torch.rand(1, 3, 90, 150)
    flow = estimate_flow(loaded, frames, frames.roll(2, -1), updates=2)
    assert flow.shape == (1, 2, 90, 150) and flow.isfinite().all()


def test_another_network_is_refused(raft: Any, tmp_path: Path) -> None:
    state = raft.state_dict()
    state.popitem()
    save_file(state, tmp_path / "raft.safetensors")
    with pytest.raises(UserError, match="not torchvision's RAFT-large: 1 missing"):
        load_raft(tmp_path / "raft.safetensors")
