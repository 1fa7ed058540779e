"""Leaving blocks out: nothing but their contribution goes, and everything comes back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hummingbird.models.blocks import block_table
from hummingbird.models.leave_out import blocks, left_out
from hummingbird.models.pruning import PruningPlan, prune
from hummingbird.models.unet import VideoUNet, miniature_unet


def randomised(unet: VideoUNet) -> VideoUNet:
    """Every part contributes: temporal convolutions start at zero otherwise."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return unet.eval()


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return randomised(miniature_unet(96))


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, 16, 3, 4, 4, generator=g), torch.tensor([19, 519]), torch.randn(2, 5, 96, generator=g)


@torch.no_grad()
def output(unet: VideoUNet, inputs: tuple[Tensor, Tensor, Tensor], *names: str) -> Tensor:
    with left_out(unet, names):
        out: Tensor = unet(*inputs).sample
    return out


def test_the_blocks_are_those_of_the_table_in_its_order(unet: VideoUNet) -> None:
    plan = PruningPlan(down=((0,), (0,)), up=((0, 2), (0, 2)), mid_block=True)
    rows = [row.block for row in block_table(unet, plan, frames=2, height=4, width=4, tokens=5)]
    assert [name for name in rows if name in blocks(unet)] == list(blocks(unet))
    samplers_and_ends = {name for name in rows if name not in blocks(unet)}
    assert {"conv_in", "conv_out", "down_blocks.0.downsampler", "up_blocks.0.upsampler"} <= samplers_and_ends
    assert not {name for name in samplers_and_ends if name.split(".")[-1].isdigit()}


@torch.no_grad()
def test_every_block_makes_a_difference_and_comes_back(unet: VideoUNet, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    before = unet(*inputs).sample
    assert torch.equal(output(unet, inputs), before)
    seen = [before]
    for name in blocks(unet):
        out = output(unet, inputs, name)
        assert not any(torch.allclose(out, other, atol=1e-5) for other in seen), name
        seen.append(out)
        assert torch.equal(unet(*inputs).sample, before), name


@torch.no_grad()
def test_an_error_and_a_forward_of_someone_else_change_nothing(
    unet: VideoUNet, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    before = unet(*inputs).sample
    with pytest.raises(RuntimeError, match="inside"), left_out(unet, ["mid_block", "up_blocks.0.1"]):
        raise RuntimeError("inside")
    with pytest.raises(KeyError, match="mid_blok"), left_out(unet, ["mid_blok"]):
        pass
    assert torch.equal(unet(*inputs).sample, before)
    part = blocks(unet)["down_blocks.0.1"][0]
    part.forward = replaced = part.forward
    with left_out(unet, ["down_blocks.0.1"]), left_out(unet, ["down_blocks.0.1"]):
        pass
    assert part.forward is replaced
    del part.forward
    assert not any("forward" in vars(module) for module in unet.modules())


@torch.no_grad()
def test_without_any_block_only_projections_and_samplers_are_left(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    """A network of one layer a level, computed by hand."""
    plan = PruningPlan(down=((0,), (0,)), up=((0, 2), (0, 2)), mid_block=True)
    unet = randomised(prune(miniature_unet(96), plan, guidance_dim=None))
    sample, _, text = inputs
    (outer, inner), (first, last) = unet.down_blocks, unet.up_blocks
    skips = [unet.conv_in(sample.transpose(1, 2).flatten(0, 1)) + unet.layout(text, 3, 4, 4)]
    skips.append(skips[0])  # the outer level keeps its width
    skips.append(outer.downsamplers[0](skips[0]))
    hidden = inner.resnets[0].conv_shortcut(skips[-1])
    skips.append(hidden)
    for level in (first, last):
        for layer in level.resnets:
            hidden = layer.conv_shortcut(torch.cat([hidden, skips.pop()], dim=1))
        if level.upsamplers is not None:
            hidden = level.upsamplers[0](hidden)
    by_hand = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden))).unflatten(0, (2, 3)).transpose(1, 2)
    torch.testing.assert_close(output(unet, inputs, *blocks(unet)), by_hand, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_its_middle_block_the_network_is_the_pruned_one(
    unet: VideoUNet, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    plan = PruningPlan(down=((0, 1),) * 2, up=((0, 1, 2),) * 2, mid_block=False)
    student = prune(unet, plan, guidance_dim=None).eval()
    assert torch.equal(output(unet, inputs, "mid_block"), student(*inputs).sample)
    assert "mid_block" not in blocks(student)
