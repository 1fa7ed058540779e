"""The denoiser: what it adds to diffusers' network, and that each condition matters."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel
from safetensors.torch import load_file

from hummingbird.errors import UserError
from hummingbird.models.pruning import count_parameters, hummingbird_plan, key_map, prune
from hummingbird.models.unet import PromptLayout, VideoUNet, miniature_unet


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    torch.manual_seed(0)
    model = miniature_unet(96).eval()
    with torch.no_grad():  # zero-initialised layers would hide what is before them
        for parameter in model.parameters():
            if parameter.abs().sum() == 0:
                parameter.normal_(0, 0.05)
    return model


def inputs(frames: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, 16, frames, 4, 4, generator=g), torch.randn(2, 24, 96, generator=g)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 8, 26])
def test_any_number_of_frames_works(unet: VideoUNet, frames: int) -> None:
    sample, text = inputs(frames)
    assert unet(sample, 500, text).sample.shape == sample.shape


@torch.no_grad()
def test_every_condition_changes_the_prediction(unet: VideoUNet) -> None:
    sample, text = inputs()
    base = unet(sample, 500, text).sample
    assert not torch.allclose(base, unet(sample, 100, text).sample, atol=1e-4)
    assert not torch.allclose(base, unet(sample, 500, text.flip(0)).sample, atol=1e-4)
    assert not torch.allclose(base, unet(sample, 500, text, fps=torch.tensor(30)).sample, atol=1e-4)


@torch.no_grad()
def test_the_default_frame_rate_is_that_of_the_configuration(unet: VideoUNet) -> None:
    sample, text = inputs()
    torch.testing.assert_close(unet(sample, 5, text).sample, unet(sample, 5, text, fps=torch.tensor(8)).sample)


@torch.no_grad()
def test_each_sample_of_a_batch_is_computed_by_itself(unet: VideoUNet) -> None:
    sample, text = inputs()
    steps, fps = torch.tensor([10, 900]), torch.tensor([8.0, 24.0])
    both = unet(sample, steps, text, fps=fps).sample
    for i in range(2):
        alone = unet(sample[i : i + 1], steps[i], text[i : i + 1], fps=fps[i]).sample
        torch.testing.assert_close(both[i : i + 1], alone, atol=2e-5, rtol=0)


def test_a_layout_is_the_same_picture_at_any_size() -> None:
    layout = PromptLayout(text_width=8, channels=2)
    torch.nn.init.normal_(layout.coefficients.weight)
    text = torch.randn(1, 3, 8)
    small, large = layout(text, 8, 4, 4), layout(text, 8, 12, 12)
    assert small.shape == (8, 2, 4, 4) and large.shape == (8, 2, 12, 12)
    torch.testing.assert_close(small, large[..., 1::3, 1::3])  # 12 places in 4: the middle one of every three


def test_a_layout_learns_which_way_a_word_moves() -> None:
    torch.manual_seed(0)
    words = torch.randn(2, 1, 8)  # "left" and "right"
    path = torch.linspace(-1, 1, 8)[:, None] * torch.linspace(-1, 1, 4)  # over frames and columns
    wanted = torch.stack([-path, path])[:, :, None, None].expand(-1, -1, 1, 4, -1).flatten(0, 1)
    layout = PromptLayout(text_width=8, channels=1)
    optimizer = torch.optim.Adam(layout.parameters(), lr=0.05)
    for _ in range(60):
        loss = (layout(words, 8, 4, 4) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02 * wanted.square().mean()


def test_latents_that_cannot_be_halved_are_refused(unet: VideoUNet) -> None:
    with pytest.raises(ValueError, match="multiples of 2"):
        unet(torch.randn(1, 16, 8, 3, 4), 5, torch.randn(1, 24, 96))


def test_gradient_checkpointing_changes_no_gradient_and_keeps_less(unet: VideoUNet) -> None:
    sample, text = inputs()
    network = copy.deepcopy(unet).requires_grad_(True)

    def gradients_and_kept() -> tuple[list[torch.Tensor], int]:
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        network.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network(sample, 500, text).sample.square().sum()
        loss.backward()
        return [p.grad.clone() for p in network.parameters() if p.grad is not None], sum(kept.values())

    plain, all_kept = gradients_and_kept()
    network.enable_gradient_checkpointing()
    again, less_kept = gradients_and_kept()
    assert len(plain) == len(again) > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert less_kept < all_kept / 2


def test_saved_and_loaded_it_is_the_same_network(unet: VideoUNet, tmp_path: Path) -> None:
    unet.save_pretrained(tmp_path)
    loaded = VideoUNet.from_pretrained(tmp_path).eval()
    sample, text = inputs()
    with torch.no_grad():
        torch.testing.assert_close(unet(sample, 7, text).sample, loaded(sample, 7, text).sample)


@torch.no_grad()
def test_pruning_takes_over_the_kept_layers_exactly(unet: VideoUNet) -> None:
    plan = hummingbird_plan(2, mid_block=False)
    student = prune(unet, plan, guidance_dim=256)
    assert student.mid_block is None
    assert 0.5 <= count_parameters(student) / count_parameters(unet) <= 0.6
    taught, learnt = unet.state_dict(), student.state_dict()
    for name, origin in key_map(plan, unet).items():
        assert torch.equal(learnt[name], taught[origin])
    assert torch.equal(learnt["up_blocks.0.resnets.1.conv1.weight"], taught["up_blocks.0.resnets.2.conv1.weight"])


@torch.no_grad()
def test_a_new_student_ignores_its_guidance_embedding(unet: VideoUNet) -> None:
    student = prune(unet, hummingbird_plan(2, mid_block=False)).eval()
    sample, text = inputs()
    with_it = student(sample, 5, text, timestep_cond=torch.randn(2, 256)).sample
    torch.testing.assert_close(with_it, student(sample, 5, text).sample)


def test_a_plan_that_shapes_forbid_is_refused_by_name(unet: VideoUNet) -> None:
    plan = hummingbird_plan(2, mid_block=False)
    wrong = type(plan)(down=plan.down, up=((0, 2), (1, 2)), mid_block=False)
    with pytest.raises(UserError, match=r"up_blocks\.1 would take 80 channels and a skip connection of 40"):
        prune(unet, wrong)


def test_the_papers_plan_keeps_the_layers_the_facts_name() -> None:
    plan = hummingbird_plan(4, mid_block=True)
    assert plan.down == ((0,),) * 4
    assert plan.up == ((1, 2), (1, 2), (0, 2), (0, 2))


@torch.no_grad()
def test_the_shipped_teacher_computes_what_it_did_when_it_was_trained(project: Path) -> None:
    """Recorded from the class as the miniature was trained with it."""
    unet = VideoUNet.from_pretrained(project / "assets/miniature/unet", dtype=torch.float32).eval()
    g = torch.Generator().manual_seed(7)
    sample, text = torch.randn(2, 16, 5, 4, 4, generator=g), torch.randn(2, 24, 96, generator=g)
    steps, recorded = torch.tensor([37, 911]), load_file(Path(__file__).parent / "golden/miniature_unet.safetensors")
    found = {
        "y": unet(sample, steps, text, fps=torch.tensor([8, 24])).sample,
        "y_default": unet(sample, steps, text).sample,
    }
    for name, wanted in recorded.items():
        torch.testing.assert_close(found[name], wanted, atol=1e-5, rtol=0)  # equal on the same processor


@torch.no_grad()
def test_without_its_additions_it_is_diffusers_network() -> None:
    """Of which the original network's outputs are known to be the same."""
    config = {
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        "block_out_channels": (32, 64),
        "cross_attention_dim": 8,
        "attention_head_dim": 8,
    }
    torch.manual_seed(0)
    theirs = UNet3DConditionModel(**config).eval()
    for parameter in theirs.parameters():
        parameter.normal_(0, 0.1)
    ours = VideoUNet(**config, fps_condition=False).eval()
    ours.load_state_dict(theirs.state_dict())
    sample, text = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 5, 8)
    steps = torch.tensor([3, 700])
    torch.testing.assert_close(ours(sample, steps, text).sample, theirs(sample, steps, text).sample, atol=2e-5, rtol=0)
