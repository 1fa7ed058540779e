"""Other decoders in a pipeline: which fit, which are refused, and by which convention they take latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler

from hummingbird.errors import UserError
from hummingbird.models.light_decoder import light_decoder_for
from hummingbird.models.unet import miniature_unet
from hummingbird.models.vae import decode_frames, decode_video
from hummingbird.pipelines.decoders import load_decoder, with_decoder
from hummingbird.pipelines.text_to_video import TextToVideoPipeline


def small_vae(channels: int = 4, levels: int = 4, scale: float = 0.18215) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels,
        norm_num_groups=4,
        latent_channels=channels,
        scaling_factor=scale,
    )


def tiny(channels: int = 4) -> AutoencoderTiny:
    torch.manual_seed(1)
    return AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        latent_channels=channels,
    ).eval()


@pytest.fixture(scope="module")
def pipeline() -> TextToVideoPipeline:
    made = TextToVideoPipeline(small_vae(), None, None, miniature_unet(16), DDIMScheduler())
    made.negative_prompt_embeds = torch.zeros(1)
    return made


@torch.no_grad()
def test_a_tiny_autoencoder_takes_normalised_latents_as_they_are(pipeline: TextToVideoPipeline) -> None:
    other = with_decoder(pipeline, tiny())
    latents = torch.randn(1, 4, 2, 2, 2)
    video = decode_video(other.vae, latents)
    assert video.shape == (1, 2, 3, 16, 16)
    expected = other.vae.decode(latents[0].transpose(0, 1)).sample
    torch.testing.assert_close(decode_frames(other.vae, latents[0].transpose(0, 1)), expected)


def test_the_rest_of_the_pipeline_is_shared_and_the_first_one_stays(pipeline: TextToVideoPipeline) -> None:
    own = pipeline.vae
    other = with_decoder(pipeline, light_decoder_for(own, (8,) * 4, 0, 4, True))
    assert other.unet is pipeline.unet and other.negative_prompt_embeds is pipeline.negative_prompt_embeds
    assert pipeline.vae is own and other.vae is not own
    assert other.config.num_frames == pipeline.config.num_frames


def test_decoders_for_other_latents_are_refused(pipeline: TextToVideoPipeline) -> None:
    def light(vae: AutoencoderKL) -> object:
        return light_decoder_for(vae, (8,) * len(vae.config.block_out_channels), 0, 4, False)

    for decoder, problem in (
        (tiny(16), "takes latents of 16 channels, but those of the model have 4"),
        (light(small_vae(16)), "takes latents of 16 channels"),
        (light(small_vae(levels=3)), "makes 4 pixels of a latent position along each side, but the VAE 8"),
        (light(small_vae(scale=0.13)), r"latents of scale and shift \(0.13, 0.0\)"),
    ):
        with pytest.raises(UserError, match=problem):
            with_decoder(pipeline, decoder)


def test_decoders_are_read_from_folders(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    decoder = load_decoder(tmp_path)
    assert isinstance(decoder, AutoencoderTiny)
    assert not any(p.requires_grad for p in decoder.parameters())


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "holds no decoder"), ('{"_class_name": "UNet2DModel"}', "holds no decoder"), ("{", "holds no decoder"),
     ('{"_class_name": "AutoencoderTiny"}', "cannot be read")],
)  # fmt: skip
def test_folders_without_a_decoder_are_refused(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=problem):
        load_decoder(tmp_path)
