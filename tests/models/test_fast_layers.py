"""Faster forms of diffusers' layers: the same results and gradients from the same weights."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.activations import GEGLU
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn

from hummingbird.models.fast_layers import FrameConv, PlaceTransformer, SplitGEGLU, quicken
from hummingbird.models.unet import VideoUNet, miniature_unet
from hummingbird.parity.backends import make_setup
from hummingbird.parity.run import run_folder


def both(layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The layer and its faster form, each with weights of its own."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    faster = nn.ModuleList([copy.deepcopy(layer)])
    quicken(faster)
    return layer, faster[0]


def assert_same(layer: nn.Module, faster: nn.Module, inputs: Tensor, **options: int) -> None:
    """Output, and gradients of the input and of every weight."""
    found = []
    for module in (layer, faster):
        source = inputs.clone().requires_grad_(True)
        output = module(source, **options)
        output = output if isinstance(output, Tensor) else output.sample
        weight = torch.linspace(-1, 1, output.numel()).view(output.shape)
        (output * weight).sum().backward()
        gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
        found.append({"output": output.detach(), "input": source.grad, **gradients})
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)


@pytest.fixture
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the faster form even for what is small."""
    monkeypatch.setattr(SplitGEGLU, "NARROWEST", 0)


@pytest.mark.parametrize(("batch", "frames", "height", "width"), [(1, 1, 1, 1), (2, 3, 5, 7), (1, 26, 2, 3)])
def test_a_convolution_over_frames(batch: int, frames: int, height: int, width: int) -> None:
    layer, faster = both(nn.Conv3d(6, 10, (3, 1, 1), padding=(1, 0, 0)))
    assert isinstance(faster, FrameConv)
    features = torch.randn(batch, 6, frames, height, width)
    assert_same(layer, faster, features)
    scattered = features.permute(0, 2, 1, 3, 4).contiguous().permute(0, 2, 1, 3, 4)
    torch.testing.assert_close(faster(scattered), faster(features))


@pytest.mark.parametrize("frames", [1, 5])
def test_a_convolution_over_frames_keeps_its_options(frames: int) -> None:
    layer, faster = both(nn.Conv3d(4, 6, (5, 1, 1), stride=(2, 1, 1), padding=(4, 0, 0), dilation=(2, 1, 1), groups=2))
    assert_same(layer, faster, torch.randn(2, 4, frames, 3, 2))


@pytest.mark.parametrize(
    "conv",
    [nn.Conv3d(4, 4, 3, padding=1), nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), padding_mode="circular")],
    ids=["over places", "no zero padding"],
)
def test_other_convolutions_stay_as_they_are(conv: nn.Conv3d) -> None:
    quicken(nn.ModuleList([conv]))
    assert type(conv) is nn.Conv3d


@pytest.mark.usefixtures("_any_size")
@pytest.mark.parametrize("shape", [(1, 1, 6), (3, 7, 6), (5, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_geglu(shape: tuple[int, ...], bias: bool) -> None:
    layer, faster = both(GEGLU(6, 10, bias=bias))
    assert isinstance(faster, SplitGEGLU)
    assert_same(layer, faster, torch.randn(shape))


@pytest.mark.parametrize(("batch", "frames", "height", "width"), [(1, 1, 2, 3), (3, 5, 2, 3), (1, 26, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_transformer_over_frames(
    batch: int, frames: int, height: int, width: int, layout: torch.memory_format
) -> None:
    layer, faster = both(TransformerTemporalModel(2, 4, in_channels=6, num_layers=2, norm_num_groups=3))
    assert isinstance(faster, PlaceTransformer)
    features = torch.randn(batch * frames, 6, height, width).contiguous(memory_format=layout)
    assert_same(layer, faster, features, num_frames=frames)
    assert torch.equal(
        faster(features, num_frames=frames, return_dict=False)[0], faster(features, num_frames=frames)[0]
    )


@pytest.fixture(scope="module")
def slow_and_fast() -> tuple[VideoUNet, VideoUNet]:
    """A small denoiser in diffusers' forms, and the same in ours."""
    torch.manual_seed(0)
    fast = miniature_unet(12).requires_grad_(True)
    for parameter in fast.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0, 0.05)
    slow = copy.deepcopy(fast)
    for module in slow.modules():
        if type(module) in (FrameConv, SplitGEGLU, PlaceTransformer):
            module.__class__ = type(module).__base__
    return slow, fast


def batch(frames: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, 16, frames, 4, 4, generator=g), torch.tensor([3, 700]), torch.randn(2, 5, 12, generator=g)


@pytest.mark.usefixtures("_any_size")
def test_a_denoiser_trains_as_before(slow_and_fast: tuple[VideoUNet, VideoUNet]) -> None:
    gradients = []
    for network in slow_and_fast:
        network.zero_grad()
        network(*batch()).sample.square().sum().backward()
        gradients.append({name: it.grad for name, it in network.named_parameters() if it.grad is not None})
    scale = max(it.abs().max().item() for it in gradients[0].values())
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6 * scale, rtol=1e-4)


@torch.no_grad()
@pytest.mark.usefixtures("_any_size")
def test_a_denoiser_computes_the_same_in_bfloat16(slow_and_fast: tuple[VideoUNet, VideoUNet]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        slow, fast = (network(*batch()).sample for network in slow_and_fast)
    assert fast.dtype == slow.dtype
    torch.testing.assert_close(fast, slow, atol=0.05, rtol=0)


@pytest.mark.usefixtures("_any_size")
def test_a_denoiser_is_one_graph_to_the_compiler(slow_and_fast: tuple[VideoUNet, VideoUNet]) -> None:
    _, fast = slow_and_fast
    compiled = torch.compile(fast, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*batch()).sample, fast(*batch()).sample, atol=1e-5, rtol=1e-5)


def test_a_denoisers_shapes_can_be_found_without_computing() -> None:
    with torch.device("meta"):
        assert miniature_unet(12)(*(it.to("meta") for it in batch())).sample.shape == (2, 16, 3, 4, 4)


def test_parameters_keep_their_names_and_drawing_them_its_order(slow_and_fast: tuple[VideoUNet, VideoUNet]) -> None:
    slow, fast = slow_and_fast
    assert list(slow.state_dict()) == list(fast.state_dict())
    torch.manual_seed(0)
    first = miniature_unet(12).state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(it, first[name]) for name, it in miniature_unet(12).state_dict().items())


@pytest.mark.usefixtures("_any_size")
def test_the_original_networks_outputs_are_matched(project: Path, tmp_path: Path) -> None:
    for path in (project / "tests/parity/golden").glob("vc2_unet_small.*"):
        shutil.copy(path, tmp_path)
    rows = list(run_folder(tmp_path, make_setup("cpu", "float32", "default")))
    assert len(rows) == 5 and all(row.verdict == "ok" for row in rows)
