"""Which frames the rewards see, in which order random numbers are drawn, and what chunked decoding saves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from hummingbird.models.vae import decode_checkpointed, decode_frames, decode_video, miniature_vae
from hummingbird.training.methods.mixture import DecodedRewards, RewardMixture, augment, strided_frames

PROMPTS = ["caption 0", "caption 1"]


@pytest.fixture
def vae() -> Any:
    torch.manual_seed(0)
    return miniature_vae().requires_grad_(False).eval()


def latents(frames: int, seed: int = 3) -> Tensor:
    made = torch.randn(2, 16, frames, 4, 4, generator=torch.Generator().manual_seed(seed))
    return made.requires_grad_(True)


def mixture(reward: Any, **changes: Any) -> RewardMixture:
    settings = {"image_weight": 1.0, "video_weight": 2.0, "image_frames": 2, "video_frames": 4}
    return RewardMixture(**{"image": reward(), "video": reward(), **settings, **changes})


@pytest.mark.parametrize(("frames", "count", "starts"), [(16, 8, {0, 1}), (26, 8, {0, 1, 2}), (8, 8, {0}), (5, 8, {0})])
def test_video_frames_are_strided_from_a_random_start(frames: int, count: int, starts: set[int]) -> None:
    found = set()
    for seed in range(20):
        seen = np.arange(frames)[strided_frames(frames, count, np.random.default_rng(seed))]
        found.add(int(seen[0]))
        assert len(seen) == min(count, frames)
        assert set(np.diff(seen)) == {max(1, frames // count)}
    assert found == starts


def test_choices_follow_from_the_seed_and_differ_between_steps(brightness: Any) -> None:
    torch.manual_seed(1)
    first = mixture(brightness).choose(2, 16)
    torch.rand(5)  # what torch has drawn since plays no part
    again = mixture(brightness).choose(2, 16)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.video, again.video)
    assert all(len(set(row)) == 2 for row in first.image.tolist())  # without replacement
    torch.manual_seed(2)
    assert not np.array_equal(first.image, mixture(brightness).choose(2, 16).image)


def test_whole_clips_are_graded_with_the_draws_in_their_old_order(vae: Any, brightness: Any) -> None:
    """Crop, shift, noise, then frames, all from torch's generator: a training of before is the same bit for bit."""
    z, rewards = latents(4), mixture(brightness)
    torch.manual_seed(7)
    loss, figures = DecodedRewards(vae, rewards)(z, PROMPTS)
    after = torch.rand(1)

    torch.manual_seed(7)
    video = decode_video(vae, z)
    scale = 1 - 0.12 * torch.rand(2)
    theta = torch.zeros(2, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = (1 - scale)[:, None] * (2 * torch.rand(2, 2) - 1)
    flat = video.reshape(2, 12, 32, 32)
    grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
    moved = F.grid_sample(flat, grid, padding_mode="border", align_corners=False).reshape(video.shape)
    video = (moved + 0.03 * torch.randn_like(moved)).clamp(0, 1)
    picks = torch.rand(2, 4).argsort(dim=1)[:, :2]
    images = video[torch.arange(2)[:, None], picks].flatten(0, 1)
    expected = -images.flatten(1).mean(1).mean() - 2 * video.flatten(1).mean(1).mean()
    assert torch.equal(loss, expected)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(rewards.image.pictures, images) and torch.equal(rewards.video.pictures, video)
    assert rewards.image.prompts == ["caption 0", "caption 0", "caption 1", "caption 1"]
    assert float(figures["video_reward"]) == pytest.approx(float(video.mean().detach()), rel=1e-5)


def test_a_decoder_that_looks_at_neighbouring_frames_gets_whole_clips(vae: Any, brightness: Any) -> None:
    from hummingbird.models.light_decoder import light_decoder_for

    light, losses = light_decoder_for(vae, (8, 16), 0, 8, True), []
    for chunk in (None, 1):
        torch.manual_seed(7)
        losses.append(DecodedRewards(light, mixture(brightness), chunk)(latents(4), PROMPTS)[0])
    assert torch.equal(losses[0], losses[1])


def test_only_the_frames_that_some_reward_sees_are_decoded_once_each(
    vae: Any, brightness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(
        "hummingbird.training.methods.mixture.decode_checkpointed",
        lambda vae, flat, chunk: decoded.append(flat.detach()) or decode_checkpointed(vae, flat, chunk),
    )
    monkeypatch.setattr("hummingbird.training.methods.mixture.augment", lambda frames, owners: frames)
    rewards = mixture(brightness, video_frames=2)
    z = latents(8)
    torch.manual_seed(1)
    seen = rewards.choose(2, 8)
    loss, _ = DecodedRewards(vae, rewards, 3)(z, PROMPTS)
    loss.backward()
    needed = [sorted({*row, *seen.video.tolist()}) for row in seen.image.tolist()]
    expected = torch.cat([z[clip, :, frames].transpose(0, 1) for clip, frames in enumerate(needed)])
    assert torch.equal(decoded[0], expected.detach())
    untouched = [sorted(set(range(8)) - set(frames)) for frames in needed]
    for clip, frames in enumerate(untouched):
        assert z.grad[clip, :, frames].abs().sum() == 0 and z.grad[clip, :, needed[clip]].abs().sum() > 0
    clean = decode_video(vae, z.detach())
    torch.testing.assert_close(rewards.video.pictures, clean[:, seen.video.tolist()])
    images = torch.cat([clean[clip, frames] for clip, frames in enumerate(seen.image.tolist())])
    torch.testing.assert_close(rewards.image.pictures, images)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_no_gradient(vae: Any, brightness: Any, chunk: int) -> None:
    gradients = []
    for size in (chunk, 7):
        z = latents(8)
        torch.manual_seed(1)
        loss, _ = DecodedRewards(vae, mixture(brightness, image_frames=3), size)(z, PROMPTS)
        loss.backward()
        gradients.append(z.grad)
    torch.testing.assert_close(*gradients, atol=1e-9, rtol=1e-6)


def saved_bytes(decode: Any, z: Tensor) -> tuple[int, Tensor]:
    """Bytes that autograd keeps of a decoding until its backward pass, and the gradient of the sum of squares."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        out = decode(z)
    (gradient,) = torch.autograd.grad(out.square().sum(), z)
    return sum(kept.values()), gradient


def test_checkpointed_decoding_keeps_one_chunk_at_most_and_the_gradients(vae: Any) -> None:
    z = torch.randn(12, 16, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    whole, expected = saved_bytes(lambda z: decode_frames(vae, z), z)
    kept, gradient = saved_bytes(lambda z: decode_checkpointed(vae, z, 2), z)
    weights = sum(p.nbytes for p in vae.decoder.parameters())
    one_chunk, _ = saved_bytes(lambda z: decode_frames(vae, z), z[:2].detach().requires_grad_(True))
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-6)
    assert kept + one_chunk - weights < (whole - weights) / 4


def test_a_reward_that_is_left_out_costs_nothing(vae: Any, brightness: Any) -> None:
    for left_out, name in (("image", "video_reward"), ("video", "image_reward")):
        rewards = mixture(brightness, **{left_out: None})
        for chunk in (None, 2):
            loss, figures = DecodedRewards(vae, rewards, chunk)(latents(4), PROMPTS)
            assert list(figures) == [name] and loss.requires_grad
        assert list(rewards.scores(torch.rand(2, 4, 3, 8, 8), PROMPTS)) == [name, "score"]
    assert mixture(brightness, video=None).choose(2, 8).video.tolist() == []
    loss, figures = DecodedRewards(vae, mixture(brightness, image=None, video=None), 2)(latents(4), PROMPTS)
    assert float(loss) == 0 and figures == {}


def test_scores_are_of_evenly_spaced_frames_and_weighted(brightness: Any) -> None:
    video = torch.rand(2, 5, 3, 8, 8)
    found = mixture(brightness, image_frames=3).scores(video, PROMPTS)
    torch.testing.assert_close(found["image_reward"], video[:, [0, 2, 4]].flatten(1).mean(1))
    torch.testing.assert_close(found["video_reward"], video.flatten(1).mean(1))
    torch.testing.assert_close(found["score"], (found["image_reward"] + 2 * found["video_reward"]) / 3)


def test_augmentation_keeps_the_range_and_the_picture_and_crops_a_clip_as_one() -> None:
    torch.manual_seed(0)
    frames = torch.rand(2, 3, 32, 32).round().repeat_interleave(2, dim=0)
    owners = np.array([0, 0, 1, 1])
    out = augment(frames, owners)
    assert out.shape == frames.shape
    assert float(out.min()) >= 0 and float(out.max()) <= 1
    torch.testing.assert_close(augment(frames, owners, crop=0.0, noise=0.0), frames, atol=1e-5, rtol=0)
    cropped = augment(frames, owners, noise=0.0)
    assert torch.equal(cropped[0], cropped[1]) and torch.equal(cropped[2], cropped[3])
    assert not torch.equal(cropped[0], frames[0])


def test_the_loss_runs_without_data_for_an_estimate_of_memory(vae: Any, brightness: Any) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        for chunk in (None, 3):
            z = torch.randn(2, 16, 8, 4, 4, requires_grad=True)
            loss, _ = DecodedRewards(vae, mixture(brightness), chunk)(z, PROMPTS)
            loss.backward()
            assert z.grad is not None
