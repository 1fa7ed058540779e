"""Public files: what is read, what is refused and why, and how much memory it takes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hummingbird.errors import UserError
from hummingbird.models.convert import unet
from hummingbird.models.convert.loading import load_public
from hummingbird.models.convert.public import load_unet
from hummingbird.models.convert.reading import TEXT, UNET, VAE, part, read_tensors
from hummingbird.models.unet import VideoUNet

SMALL: dict[str, Any] = {
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "attention_head_dim": 8,
    "has_mid_block": False,
}


@pytest.fixture(scope="module")
def network() -> VideoUNet:
    torch.manual_seed(0)
    return VideoUNet(**SMALL).eval()


@pytest.fixture(scope="module")
def public(network: VideoUNet) -> dict[str, Tensor]:
    tensors = unet.key_map(network).to_public(network.state_dict())
    return {name: it.contiguous() for name, it in tensors.items()}


def load(public: dict[str, Tensor], dtype: torch.dtype | None = None) -> VideoUNet:
    empty = unet.build_unet(SMALL)
    return load_public(empty, unet.key_map(empty), public, dtype)


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_public_tensors_come_back_exactly(network: VideoUNet, public: dict[str, Tensor]) -> None:
    loaded = load(public)
    assert_equal(loaded.state_dict(), network.state_dict())
    assert_equal(unet.key_map(loaded).to_public(loaded.state_dict()), public)
    assert public["init_attn.0.proj_in.weight"].ndim == 3  # a convolution there, a linear layer here


def test_every_form_of_file_gives_the_same_tensors(public: dict[str, Tensor], tmp_path: Path) -> None:
    prefixed = {UNET + name: it for name, it in public.items()}
    other = {VAE + "quant_conv.bias": torch.ones(8), "betas": torch.ones(3)}
    deepspeed = {f"_forward_module.{name}": it for name, it in prefixed.items()}
    deepspeed["_forward_module.teacher_model.x"] = torch.zeros(2)
    save_file(public, tmp_path / "merged.safetensors")
    torch.save(public, tmp_path / "merged.pt")
    torch.save(public, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": prefixed | other, "global_step": 3}, tmp_path / "whole.ckpt")
    torch.save({"module": deepspeed, "epoch": 1}, tmp_path / "mp_rank_00_model_states.pt")
    torch.save({f"module.{name}": it for name, it in public.items()}, tmp_path / "parallel.pt")
    for path in tmp_path.iterdir():
        assert_equal(part(read_tensors(path), UNET), public)


def test_a_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UserError, match=r"has no cond_stage_model.model.\*, only first_stage_model."):
        part({VAE + "x": torch.zeros(1)}, TEXT)


def test_damaged_and_foreign_files_are_refused(public: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(public, tmp_path / "a.safetensors")
    torch.save(public, tmp_path / "a.pt")
    for path in list(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match="cannot be read") as caught:
            read_tensors(path)
        assert "fetch it again" in caught.value.next_step
    for name, content in {"page.html": b"<html>not found</html>", "empty.pt": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="neither a safetensors nor a PyTorch file"):
            read_tensors(tmp_path / name)
    with pytest.raises(UserError, match="there is no checkpoint"):
        read_tensors(tmp_path / "absent.pt")
    torch.save({"state_dict": {}}, tmp_path / "none.pt")
    with pytest.raises(UserError, match="holds no tensors"):
        read_tensors(tmp_path / "none.pt")


def test_a_pickled_module_is_refused_without_running_it(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(UserError, match=r"refused.*torch\.nn\.modules\.linear\.Linear"):
        read_tensors(tmp_path / "module.pt")

    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "harmful.pt").write_bytes(pickle.dumps({"a": Harmful()}, protocol=2))
    with pytest.raises(UserError, match="refused"):
        read_tensors(tmp_path / "harmful.pt")
    assert not (tmp_path / "ran").exists()


def test_missing_and_left_over_keys_are_one_error(public: dict[str, Tensor]) -> None:
    wrong = {name: it for name, it in public.items() if name not in ("out.0.bias", "time_embed.0.weight")}
    wrong["middle_block.0.in_layers.0.weight"] = torch.zeros(1)
    with pytest.raises(UserError) as caught:
        load(wrong)
    assert "2 missing: out.0.bias, time_embed.0.weight" in caught.value.problem
    assert "1 left over: middle_block.0.in_layers.0.weight" in caught.value.problem


def test_another_architecture_is_an_error(public: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(public, tmp_path / "small.safetensors")
    with pytest.raises(UserError, match=r"the checkpoint is not this UNet\: \d+ missing: .* and \d+ more"):
        load_unet(tmp_path / "small.safetensors", "hummingbird-0.7b")
    with pytest.raises(UserError) as caught:
        load_unet(tmp_path / "small.safetensors", "humingbird-0.7b")
    assert "did you mean 'hummingbird-0.7b'?" in caught.value.next_step
    with pytest.raises(UserError, match=r"another shape: conv_in.weight \[32, 9, 3, 3\] instead of \[32, 4, 3, 3\]"):
        load(public | {"input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)})


def test_values_too_large_for_half_precision_are_an_error(public: dict[str, Tensor]) -> None:
    large = public | {"out.0.weight": torch.full((32,), 70_000.0)}
    with pytest.raises(UserError, match=r"too large for torch.float16: conv_norm_out.weight"):
        load(large, torch.float16)
    assert load(large, torch.bfloat16).conv_norm_out.weight.isfinite().all()
    assert load(public, torch.float16).dtype == torch.float16


MEASURE = """
import sys, torch
from hummingbird.models.convert import unet
from hummingbird.models.convert.loading import load_public
from hummingbird.models.convert.reading import UNET, part, read_tensors
from pathlib import Path

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

config = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=1, has_mid_block=False)
network = unet.build_unet(config)
before = peak()
load_public(network, unet.key_map(network), part(read_tensors(Path(sys.argv[1])), UNET), getattr(torch, sys.argv[2]))
total = sum(float(parameter.sum()) for parameter in network.parameters())  # every page is read
print((peak() - before) / sum(parameter.nbytes for parameter in network.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_loading_holds_the_weights_once(tmp_path: Path) -> None:
    big = unet.build_unet({"block_out_channels": (128, 256, 512, 512), "layers_per_block": 1, "has_mid_block": False})
    tensors = unet.key_map(big).to_public(big.state_dict())
    filled = {UNET + name: torch.full(it.shape, 0.01) for name, it in tensors.items()}
    save_file(filled, tmp_path / "full.safetensors")
    torch.save({"state_dict": filled}, tmp_path / "full.ckpt")
    save_file({name: it.half() for name, it in filled.items()}, tmp_path / "half.safetensors")
    for name, dtype in (("full.safetensors", "float32"), ("full.ckpt", "float32"), ("half.safetensors", "float32")):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path / name), dtype], capture_output=True, text=True, check=True
        )
        assert float(done.stdout) <= 1.15, (name, dtype)
