"""Every profile's networks, built without weights from what the profile says, have the published numbers of parameters.

The numbers are those of the manifests of the original networks, which are too large for the repository; where they lie
beside the checkout, the numbers here are compared with them.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import CLIPModel

from hummingbird.models.convert import dover, unet, vae
from hummingbird.models.convert.public import UNETS, VAE_CONFIG
from hummingbird.models.pruning import count_parameters, hummingbird_plan, prune
from hummingbird.models.rewards.internvideo2 import InternVideo2Reward
from hummingbird.models.rewards.published import internvideo2_1b, viclip_l, vit_h14
from hummingbird.models.rewards.video_text import VideoTextReward
from hummingbird.models.text_tower import build_tower, text_config
from hummingbird.models.unet import VideoUNet
from hummingbird.params import Params, PublicCheckpoints, load_params

PAPER = ["t2v-0.7b-code-preset", "t2v-0.7b-h200", "t2v-0.7b-mi250x4", "t2v-0.7b-rx7900xtx-inference"]
TEACHER = 1_413_284_420
STUDENTS = {name: 772_091_780 for name in PAPER} | {"t2v-0.9b-mi250x4": 945_209_220}  # with guidance embedding
#: Number of parameters -> the manifest and the field of it that say so.
SAID_BY = {
    TEACHER: ("videocrafter2_unet", "total_params"),
    772_091_780: ("hummingbird_07b_unet_tcond256", "total_params"),
    945_209_220: ("hummingbird_09b_unet_tcond256", "total_params"),
    83_653_863: ("autoencoder_kl", "total_params"),
    354_032_641: ("open_clip_vit_h14_text", "total_params"),
    56_218_302: ("dover", "total_params"),
    986_109_441: ("open_clip_vit_h14_full", "total_params"),
    1_019_628_672: ("internvideo2_stage2_1b_vision", "reward_path_params_vision"),
    427_590_145: ("viclip_l", "total_params"),
}


def teacher_and_student(params: Params) -> tuple[VideoUNet, VideoUNet]:
    """What stage 1 starts from, as it makes it."""
    assert params.foundation.checkpoints is not None
    settings = params.stage1
    teacher = unet.build_unet(UNETS[params.foundation.checkpoints.teacher])
    plan = hummingbird_plan(len(teacher.config.block_out_channels), mid_block=settings.keep_mid_block)
    return teacher, prune(teacher, plan, guidance_dim=settings.guidance_dim)


def helpers(chosen: PublicCheckpoints) -> dict[str, tuple[nn.Module, int]]:
    """The other networks by their part in the profile, each with its published number of parameters."""
    image = {"hpsv2.1": vit_h14(), "pickscore": vit_h14("squash")}
    with init_empty_weights():
        built: dict[str, tuple[nn.Module, int]] = {
            name: (CLIPModel(image[name]), 986_109_441) for name in (chosen.image_reward, chosen.image_reward_eval)
        }
        built[chosen.video_reward] = (InternVideo2Reward(internvideo2_1b()), 1_019_628_672)
        built[chosen.video_reward_eval] = (VideoTextReward(viclip_l()), 427_590_145)
    built[chosen.dover] = (dover.build_dover(dover.PUBLISHED[chosen.dover]), 56_218_302)
    built["vae"] = (vae.build_vae(vae.config_from_public(VAE_CONFIG, 4)), 83_653_863)
    built["text"] = (build_tower(text_config()), 354_032_641)
    return built


@pytest.mark.parametrize("name", STUDENTS)
def test_a_paper_profile_has_the_published_networks(project: Path, name: str) -> None:
    params = load_params(project / f"profiles/{name}.yaml")
    teacher, student = teacher_and_student(params)
    assert (count_parameters(teacher), count_parameters(student)) == (TEACHER, STUDENTS[name])
    assert params.foundation.checkpoints is not None
    chosen = params.foundation.checkpoints
    for part, (network, published) in helpers(chosen).items():
        count = count_parameters(network)
        if part == chosen.video_reward:  # the manifest counts the vision tower without its projection
            assert isinstance(network, InternVideo2Reward)
            count = count_parameters(network.vision_model) - count_parameters(network.vision_model.projection)
        if part == chosen.video_reward_eval:
            count += 1  # the temperature, which a reward does not use
        assert count == published, part


def test_the_numbers_are_the_manifests(project: Path) -> None:
    folder = project.parent / "shared/manifests"
    if not folder.is_dir():
        pytest.skip(f"no manifests in {folder}")
    for number, (manifest, field) in SAID_BY.items():
        assert json.loads((folder / f"{manifest}.json").read_text())[field] == number, manifest


def test_the_miniatures_networks_have_the_parameters_of_their_files(project: Path) -> None:
    params = load_params(project / "profiles/miniature.yaml")
    folder = project / params.foundation.source
    with torch.device("meta"):
        teacher = VideoUNet.from_config(VideoUNet.load_config(folder / "unet"))
    assert count_parameters(teacher) == parameters_in(folder / "unet/diffusion_pytorch_model.safetensors") == 4_552_200
    plan = hummingbird_plan(2, mid_block=params.stage1.keep_mid_block)
    assert count_parameters(prune(teacher, plan, guidance_dim=params.stage1.guidance_dim)) == 2_522_800


def parameters_in(path: Path) -> int:
    """From the header of a safetensors file; nothing else is read."""
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(*struct.unpack("<Q", file.read(8))))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
