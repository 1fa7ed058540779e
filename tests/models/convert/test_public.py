"""Full-size networks on the meta device: numbers of parameters, and every key of the public checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hummingbird.models.convert import dover, text, unet, vae
from hummingbird.models.convert.keymap import KeyMap
from hummingbird.models.convert.public import UNETS, VAE_CONFIG
from hummingbird.models.pruning import PLANS, count_parameters, key_map, prune
from hummingbird.models.text_tower import build_tower, text_config
from hummingbird.models.unet import VideoUNet

UNET_PARAMETERS = {"videocrafter2": 1_413_284_420, "hummingbird-0.9b": 945_127_300, "hummingbird-0.7b": 772_009_860}
UNET_MANIFESTS = {
    "videocrafter2": "videocrafter2_unet",
    "hummingbird-0.9b": "hummingbird_09b_unet",
    "hummingbird-0.7b": "hummingbird_07b_unet",
}


@pytest.fixture
def manifests(project: Path) -> Path:
    """Names and shapes of all tensors of the public checkpoints; too large for the repository."""
    folder = Path(os.environ.get("HUMMINGBIRD_MANIFESTS", project.parent / "shared/manifests"))
    if not folder.is_dir():
        pytest.skip(f"no manifests in {folder} (HUMMINGBIRD_MANIFESTS selects another folder)")
    return folder


def keys(manifests: Path, name: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = json.loads((manifests / f"{name}.json").read_text())["keys"]
    return found


def public_names(network: VideoUNet) -> dict[str, str]:
    return {it.ours[0]: it.public for it in unet.key_map(network).renames.values()}


def assert_converts(network: nn.Module, names: KeyMap, public: dict[str, list[int]]) -> None:
    """Every public key becomes tensors of ours, of our shapes, and comes back."""
    tensors = {name: torch.empty(shape, device="meta") for name, shape in public.items()}
    state = names.to_ours(tensors)
    expected = network.state_dict()
    assert {name: it.shape for name, it in state.items()} == {name: it.shape for name, it in expected.items()}
    back = names.to_public(state)
    assert {name: list(it.shape) for name, it in back.items() if name in public} == public
    assert set(back) - set(public) <= set(names.derived)


@pytest.mark.parametrize("name", list(UNETS))
@pytest.mark.parametrize("guidance", [False, True])
def test_unets_have_the_published_numbers_of_parameters(name: str, guidance: bool) -> None:
    options: dict[str, Any] = {"time_cond_proj_dim": 256} if guidance else {}
    network = unet.build_unet(UNETS[name] | options)
    assert count_parameters(network) == UNET_PARAMETERS[name] + 81_920 * guidance


def test_autoencoder_text_tower_and_dover_have_the_published_numbers_of_parameters() -> None:
    assert count_parameters(vae.build_vae(vae.config_from_public(VAE_CONFIG, 4))) == 83_653_863
    assert count_parameters(build_tower(text_config())) == 354_032_641
    sizes = {name: count_parameters(dover.build_dover(config)) for name, config in dover.PUBLISHED.items()}
    assert sizes == {"dover": 56_218_302, "dover-mobile": 10_674_546}


@pytest.mark.parametrize("name", list(UNETS))
@pytest.mark.parametrize("guidance", [False, True])
def test_every_key_of_a_unet_converts(manifests: Path, name: str, guidance: bool) -> None:
    network = unet.build_unet(UNETS[name] | ({"time_cond_proj_dim": 256} if guidance else {}))
    public = keys(manifests, UNET_MANIFESTS[name] + "_tcond256" * guidance)
    assert_converts(network, unet.key_map(network), public)


def test_every_key_of_the_other_networks_converts(manifests: Path) -> None:
    autoencoder = vae.build_vae(vae.config_from_public(VAE_CONFIG, 4))
    assert_converts(autoencoder, vae.key_map(autoencoder), keys(manifests, "autoencoder_kl"))
    tower = build_tower(text_config())
    assert_converts(tower, text.key_map(tower), keys(manifests, "open_clip_vit_h14_text"))
    for name, config in dover.PUBLISHED.items():
        quality = dover.build_dover(config)
        assert_converts(quality, dover.key_map(quality), keys(manifests, name.replace("-", "_")))


def test_stage_1s_configuration_is_the_0_9b_network(manifests: Path) -> None:
    config = json.loads((manifests / "hummingbird_stage1_unet.json").read_text())["config"]
    network = unet.build_unet(unet.config_from_public(config))
    assert network.config.default_fps == 10
    assert_converts(network, unet.key_map(network), keys(manifests, "hummingbird_stage1_unet"))


@pytest.mark.parametrize("plan", list(PLANS))
def test_the_papers_plans_are_the_recorded_key_maps(manifests: Path, plan: str) -> None:
    teacher = unet.build_unet(UNETS["videocrafter2"])
    student = prune(teacher, PLANS[plan], guidance_dim=None)
    ours = key_map(PLANS[plan], teacher)
    in_student, in_teacher = public_names(student), public_names(teacher)
    found = {in_student[name]: in_teacher[origin] for name, origin in ours.items()}
    short = plan.replace(".", "")
    recorded = json.loads((manifests / f"keymap_vc2_to_hummingbird_{short}_unet.json").read_text())["key_map"]
    assert found == recorded
    assert count_parameters(student) == UNET_PARAMETERS[f"hummingbird-{plan}"]
