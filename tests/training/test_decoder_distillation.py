"""Decoder distillation: who gets gradients, what each loss asks for, and what the temporal layer is good for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from evaluation.reconstruction import second_difference
from hummingbird.models.light_decoder import LightDecoder, light_decoder_for
from hummingbird.models.vae import decode_video
from hummingbird.params import DecoderLosses
from hummingbird.training.methods.decoder_distillation import DecoderDistillation, perceptual_distance, random_crop

LOSSES = ("l1", "mse", "perceptual", "features", "temporal")


@pytest.fixture
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        scaling_factor=0.5,
    )


@pytest.fixture
def light(vae: AutoencoderKL) -> LightDecoder:
    return light_decoder_for(vae, (4, 8), 0, 4, True)


def batch(size: int = 2, frames: int = 4) -> dict[str, Any]:
    return {"latents": torch.randn(size, 4, frames, 6, 6, generator=torch.Generator().manual_seed(3))}


def test_the_light_decoder_alone_gets_gradients_and_every_parameter_one(
    vae: AutoencoderKL, light: LightDecoder
) -> None:
    torch.nn.init.normal_(light.across_frames.conv4[-1].weight, std=0.1)  # zero, it would hold up what is below it
    method = DecoderDistillation(light, vae, DecoderLosses())
    loss, figures = method.loss(batch(), 0)
    loss.backward()
    assert not any(p.requires_grad or p.grad is not None for p in vae.parameters())
    for name, parameter in method.trainable.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert set(figures) == {"psnr_db", *LOSSES}
    assert not any(value.requires_grad for value in figures.values())


def test_the_loss_is_the_weighted_sum_and_what_weighs_nothing_is_left_out(
    vae: AutoencoderKL, light: LightDecoder
) -> None:
    weights = DecoderLosses(l1=2.0, mse=0.0, perceptual=0.0, features=0.0, temporal=3.0)
    method = DecoderDistillation(light, vae, weights)
    loss, figures = method.loss(batch(), 0)
    assert set(figures) == {"psnr_db", "l1", "mse", "temporal"}
    torch.testing.assert_close(loss.detach(), 2 * figures["l1"] + 3 * figures["temporal"])
    assert [name for name, _ in method.trainable.named_parameters() if name.startswith("projections")] == []


def test_a_copy_of_the_vaes_decoder_has_no_loss_but_that_of_the_untrained_projections(vae: AutoencoderKL) -> None:
    twin = light_decoder_for(vae, (8, 16), 1, 4, False)
    vae.decoder.mid_block.attentions[0] = None
    twin.decoder.load_state_dict(vae.decoder.state_dict())
    torch.nn.init.dirac_(vae.post_quant_conv.weight)
    torch.nn.init.zeros_(vae.post_quant_conv.bias)
    for module in (*vae.modules(), *twin.modules()):
        if isinstance(module, torch.nn.GroupNorm):
            module.eps = 1e-6
    _, figures = DecoderDistillation(twin, vae, DecoderLosses()).loss(batch(), 0)
    assert {name: float(figures[name]) for name in LOSSES if name != "features"} == pytest.approx(
        dict.fromkeys(("l1", "mse", "perceptual", "temporal"), 0.0), abs=1e-6
    )
    assert figures["features"] > 0


def test_the_loss_falls(vae: AutoencoderKL, light: LightDecoder) -> None:
    method = DecoderDistillation(light, vae, DecoderLosses())
    optimizer = torch.optim.AdamW(method.trainable.parameters(), lr=2e-2)
    losses = []
    for step in range(15):
        loss, _ = method.loss(batch(), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_temporal_layer_takes_flicker_out_that_no_single_frame_shows(light: LightDecoder) -> None:
    """Still scenes whose latents jitter: what is noise shows only beside the neighbouring frames."""
    light.requires_grad_(False).eval()
    light.across_frames.requires_grad_(True)
    still = torch.randn(8, 4, 1, 6, 6).expand(-1, -1, 8, -1, -1)
    noisy = still + 0.3 * torch.randn_like(still)
    with torch.no_grad():
        wanted = decode_video(light, still)
        before = float(second_difference(decode_video(light, noisy)).mean())
    optimizer = torch.optim.AdamW(light.across_frames.parameters(), lr=1e-2)
    for _ in range(40):
        video = decode_video(light, still + 0.3 * torch.randn_like(still))
        loss = (video - wanted).abs().mean() + (video.diff(dim=1) - wanted.diff(dim=1)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        after = float(second_difference(decode_video(light, noisy)).mean())
    assert after < 0.6 * before


def test_perception_tells_pictures_apart_and_reaches_them(vae: AutoencoderKL) -> None:
    vae.requires_grad_(False)
    one, other = torch.rand(2, 2, 3, 12, 12)
    one.requires_grad_(True)
    assert float(perceptual_distance(vae.encoder, one, one.detach()).detach()) == pytest.approx(0, abs=1e-10)
    distance = perceptual_distance(vae.encoder, one, other)
    distance.backward()
    assert distance > 0 and one.grad is not None and one.grad.any()


def test_crops_are_squares_of_the_latents() -> None:
    latents = torch.arange(2 * 1 * 3 * 4 * 6.0).reshape(2, 1, 3, 4, 6)
    torch.manual_seed(0)
    crop = random_crop(latents, 3)
    assert crop.shape == (2, 1, 3, 3, 3)
    torch.testing.assert_close(crop[1] - crop[0], torch.full((1, 3, 3, 3), 72.0))  # one place for all clips
    assert random_crop(latents, 5).shape == (2, 1, 3, 4, 5)


def test_a_cropped_step_decodes_only_the_crop(vae: AutoencoderKL, light: LightDecoder) -> None:
    sizes: list[tuple[int, ...]] = []
    light.decoder.conv_in.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    DecoderDistillation(light, vae, DecoderLosses(), crop=3).loss(batch(2, 2), 0)
    assert sizes == [(4, 4, 3, 3)]
