"""The light decoder: the same blocks, frame by frame but for its temporal layer, in the VAE's place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from hummingbird.errors import UserError
from hummingbird.models.light_decoder import LightDecoder, decoder_cost, light_decoder_for, vae_features
from hummingbird.models.vae import decode_frames, decode_video, downscale_factor, miniature_vae, patch_size
from hummingbird.params import load_params

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    made = miniature_vae().eval()
    made.register_to_config(scaling_factor=0.7, shift_factor=0.1)
    return made


def light_for(vae: AutoencoderKL, temporal: bool = True) -> LightDecoder:
    torch.manual_seed(1)
    return light_decoder_for(vae, (8, 16), 0, 8, temporal).eval()


def woken(light: LightDecoder) -> LightDecoder:
    """As if its temporal layer had been trained."""
    torch.nn.init.normal_(light.across_frames.conv4[-1].weight, std=0.2)
    return light


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(2, 16, 4, 4, 4, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_blocks_one_by_one_are_the_networks_own_forward(vae: AutoencoderKL) -> None:
    z = torch.randn(3, 16, 4, 4)
    output, features = vae_features(vae, z)
    torch.testing.assert_close(output, vae.decode(z).sample)
    assert [tuple(f.shape[1:]) for f in features] == [(96, 4, 4), (96, 8, 8), (64, 8, 8)]
    light = light_for(vae, temporal=False)
    torch.testing.assert_close(light.decode(z).sample, light.decoder(z))


@torch.no_grad()
def test_it_decodes_in_the_vaes_place(vae: AutoencoderKL, latents: Tensor) -> None:
    light = light_for(vae)
    assert (downscale_factor(light), patch_size(light)) == (downscale_factor(vae), patch_size(vae)) == (8, 4)
    assert decode_video(light, latents).shape == decode_video(vae, latents).shape == (2, 4, 3, 32, 32)
    raw = latents[:, :, 0] / 0.7 + 0.1
    pixels = torch.nn.functional.pixel_shuffle(light(raw)[0], 4)
    torch.testing.assert_close(decode_frames(light, latents[:, :, 0]), pixels)


@torch.no_grad()
def test_the_temporal_layer_starts_as_the_identity_and_then_sees_a_clip_and_no_other(
    vae: AutoencoderKL, latents: Tensor
) -> None:
    light = light_for(vae)
    alone = decode_video(light, latents[:, :, :1])[:, 0]
    torch.testing.assert_close(decode_video(light, latents)[:, 0], alone)
    woken(light)
    together = decode_video(light, latents)
    assert not torch.allclose(together[:, 0], decode_video(light, latents[:, :, :1])[:, 0])
    torch.testing.assert_close(together[:1], decode_video(light, latents[:1]), atol=1e-5, rtol=0)


def test_gradient_checkpointing_runs_blocks_twice_and_changes_no_gradient(vae: AutoencoderKL, latents: Tensor) -> None:
    light = woken(light_for(vae))
    runs: list[int] = []
    light.decoder.up_blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    found = []
    for _ in range(2):
        light.zero_grad()
        decode_video(light, latents).square().mean().backward()
        found.append([parameter.grad.clone() for parameter in light.parameters() if parameter.grad is not None])
        light.enable_gradient_checkpointing()
    assert len(runs) == 3
    assert len(found[0]) == len(list(light.parameters()))
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 4, 6])
def test_chunks_are_whole_clips(vae: AutoencoderKL, latents: Tensor, chunk: int) -> None:
    light = woken(light_for(vae))
    torch.testing.assert_close(decode_video(light, latents, chunk), decode_video(light, latents), atol=1e-5, rtol=0)


@torch.no_grad()
def test_it_is_saved_and_loaded(vae: AutoencoderKL, latents: Tensor, tmp_path: Path) -> None:
    light = woken(light_for(vae))
    light.save_pretrained(tmp_path)
    again = LightDecoder.from_pretrained(tmp_path)
    assert (again.config.scaling_factor, again.config.shift_factor) == (0.7, 0.1)
    torch.testing.assert_close(decode_video(again, latents), decode_video(light, latents))


@pytest.mark.parametrize(
    ("channels", "groups", "problem"),
    [((8, 8, 8), 8, "names 3 levels, but the VAE's decoder has 2"), ((8, 12), 8, "has 12, which does not divide")],
)
def test_settings_that_do_not_fit_the_vae_are_refused(
    vae: AutoencoderKL, channels: tuple[int, ...], groups: int, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        light_decoder_for(vae, channels, 0, groups, True)


def test_at_paper_scale_it_takes_a_twentieth_of_the_operations() -> None:
    """Of Stable Diffusion's KL-f8, whose decoder takes 25.0 TFLOP for 16 frames of 320 x 512."""
    with torch.device("meta"):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        settings = load_params(ROOT / "profiles/t2v-0.7b-h200.yaml").decoder
        light = light_decoder_for(
            vae, settings.channels, settings.layers_per_block, settings.norm_groups, settings.temporal
        )
    (_, original), (parameters, flops) = (decoder_cost(decoder, 16, 40, 64) for decoder in (vae, light))
    assert original == pytest.approx(25.0e12, rel=0.01)
    assert original / flops == pytest.approx(20, rel=0.03)
    assert parameters < 3e6
