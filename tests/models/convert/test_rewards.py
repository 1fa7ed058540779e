"""The public reward checkpoints <-> ours: at full size by name and shape, at a small size bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from hummingbird.errors import UserError
from hummingbird.models.convert import internvideo2, open_clip, viclip
from hummingbird.models.rewards.internvideo2 import InternVideo2Config, InternVideo2Reward
from hummingbird.models.rewards.published import internvideo2_1b, viclip_l, vit_h14
from hummingbird.models.rewards.video_text import VideoTextConfig, VideoTextReward

TOWER = {"hidden_size": 12, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": 8, "patch_size": 4}
TEXT = {**TOWER, "vocab_size": 20, "max_position_embeddings": 6}
CLIP = CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=8)
VICLIP = VideoTextConfig(vision_config=VISION, text_config=TEXT, projection_dim=8, num_frames=3)
INTERNVIDEO2 = InternVideo2Config(
    text_config={**TOWER, "vocab_size": 20}, **VISION, pool_heads=2, pool_dim=8, projection_dim=6
)


@pytest.fixture
def manifests(project: Path) -> Path:
    folder = project.parent / "shared/manifests"
    if not folder.is_dir():
        pytest.skip(f"no manifests in {folder}")
    return folder


def described(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a manifest says, and its tensors without their values."""
    about = json.loads(path.read_text())
    return about, {name: torch.empty(shape, device="meta") for name, shape in about["keys"].items()}


def shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in state.items()}


def count(state: dict[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in state.values())


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name


def test_every_key_of_open_clip_converts_at_full_size(manifests: Path) -> None:
    about, state = described(manifests / "open_clip_vit_h14_full.json")
    model = open_clip.load(state, vit_h14())
    assert sum(p.numel() for p in model.parameters()) == about["total_params"] == 986_109_441
    assert shapes(open_clip.key_map(vit_h14()).to_public(model.state_dict())) == about["keys"]


def test_the_text_tower_of_open_clip_is_part_of_it(manifests: Path) -> None:
    _, state = described(manifests / "open_clip_vit_h14_text.json")
    tower = {name.removeprefix("model.") for name in state} - {"attn_mask"}
    assert tower <= open_clip.key_map(vit_h14()).renames.keys()


def test_names_are_those_of_the_published_key_map(manifests: Path) -> None:
    rules = json.loads((manifests / "keymap_open_clip_to_transformers_clip.json").read_text())["rules"]
    for theirs, rename in open_clip.key_map(vit_h14()).renames.items():
        [(rule, match)] = [(rule, match) for rule in rules if (match := re.fullmatch(rule["source"], theirs))]
        split = rule["op"] == "split3_dim0"
        targets = rule["target"] if split else [rule["target"]]
        assert list(rename.ours) == [target.format(*match.groups()) for target in targets]
        assert rename.transposed == (rule["op"] == "transpose")


def test_every_key_of_viclip_converts_at_full_size(manifests: Path) -> None:
    about, state = described(manifests / "viclip_l.json")
    model = viclip.load(state, viclip_l())
    assert sum(p.numel() for p in model.parameters()) == about["total_params"] - 1 == 427_590_144  # without temp
    names = viclip.key_map(viclip_l())
    assert names.unused(state).keys() == {"temp"}
    assert shapes(names.to_public(names.to_ours(state)) | names.unused(state)) == about["keys"]


def test_every_key_of_internvideo2_converts_at_full_size(manifests: Path) -> None:
    about, state = described(manifests / "internvideo2_stage2_1b_vision.json")
    config = internvideo2_1b()
    with init_empty_weights(include_buffers=False):
        own = InternVideo2Reward(config).state_dict()
    # The manifest has no text tower; its names are tested by the golden data, its shapes are BERT-large's.
    renames = internvideo2.text_renames(config)
    text = {it.public: own[it.ours[0]] for it in renames if it.public not in about["keys"]}
    assert all(name.startswith("text_encoder.bert.") for name in text)
    names = internvideo2.key_map(config)
    ours, unused = names.to_ours(state | text), names.unused(state | text)
    internvideo2.load(state | text, config)
    assert count(unused) == about["unused_for_reward_params"]
    assert all(name.startswith(tuple(about["unused_for_reward_prefixes"])) for name in unused)
    tower = {name: it for name, it in ours.items() if name.startswith("vision_model.") and ".projection." not in name}
    assert count(tower) == about["reward_path_params_vision"] == 1_019_628_672
    assert shapes(names.to_public(ours) | unused) == about["keys"] | shapes(text)
    with init_empty_weights(include_buffers=False):
        assert list(InternVideo2Reward(config).vision_model.positions(8).shape) == about["pos_embed_for_8_frames"]


def random_like(network: nn.Module) -> dict[str, Tensor]:
    return {name: torch.randn(it.shape).half() for name, it in network.state_dict().items()}


def test_open_clip_comes_back_bit_for_bit() -> None:
    names = open_clip.key_map(CLIP)
    public = names.to_public(random_like(CLIPModel(CLIP)))
    assert_same(names.to_public(open_clip.load(public, CLIP).state_dict()), public)


def test_viclip_comes_back_bit_for_bit() -> None:
    names = viclip.key_map(VICLIP)
    public = names.to_public(random_like(VideoTextReward(VICLIP))) | {"temp": torch.tensor(0.01)}
    assert public["vision_encoder.conv1.weight"].shape == (12, 3, 1, 4, 4)
    assert public["vision_encoder.temporal_positional_embedding"].shape == (1, 3, 12)
    assert_same(names.to_public(viclip.load(public, VICLIP).state_dict()) | names.unused(public), public)


def test_internvideo2_comes_back_bit_for_bit_with_what_it_does_not_use() -> None:
    names = internvideo2.key_map(INTERNVIDEO2)
    public = names.to_public(random_like(InternVideo2Reward(INTERNVIDEO2)))
    spare = (
        *("temp", "itm_head.weight", "text_encoder.cls.predictions.bias", "vision_encoder.clip_pos_embed"),
        *("vision_encoder.final_clip_decoder.head.bias", "text_encoder.bert.embeddings.position_ids"),
        "text_encoder.bert.encoder.layer.2.crossattention.self.query.weight",
    )
    public |= {name: torch.randn(2) for name in spare}
    assert names.unused(public).keys() == set(spare)
    reward = internvideo2.load(public, INTERNVIDEO2)
    assert not reward.training and not any(parameter.requires_grad for parameter in reward.parameters())
    assert_same(names.to_public(reward.state_dict()) | names.unused(public), public)


def test_pick_score_is_read_without_its_buffers() -> None:
    state = {name: torch.randn(it.shape) for name, it in CLIPModel(CLIP).state_dict().items()}
    buffers = {f"{tower}_model.embeddings.position_ids": torch.arange(4)[None] for tower in ("text", "vision")}
    assert_same(open_clip.load_transformers(state | buffers, CLIP).state_dict(), state)


def test_wrong_checkpoints_are_refused() -> None:
    public = open_clip.key_map(CLIP).to_public(CLIPModel(CLIP).state_dict())
    name = "transformer.resblocks.1.attn.in_proj_bias"
    with pytest.raises(UserError, match=f"not this CLIP: 1 missing: {name}"):
        open_clip.load({key: it for key, it in public.items() if key != name}, CLIP)
    with pytest.raises(UserError, match=r"1 left over: score_predictor\.weight"):
        open_clip.load(public | {"score_predictor.weight": torch.ones(1)}, CLIP)
    with pytest.raises(UserError, match=r"1 of another shape: visual_projection.weight \[9, 12\]"):
        open_clip.load(public | {"visual.proj": torch.ones(12, 9)}, CLIP)
    names, own = internvideo2.key_map(INTERNVIDEO2), InternVideo2Reward(INTERNVIDEO2).state_dict()
    with pytest.raises(UserError, match=r"1 left over: vision_encoder\.clip_projection"):
        internvideo2.load(names.to_public(own) | {"vision_encoder.clip_projection": torch.ones(1)}, INTERNVIDEO2)
    with pytest.raises(UserError, match=r"16 missing: text_model\.bert\.encoder\.layer\.1\."):
        names.to_public({k: v for k, v in own.items() if "encoder.layer.1." not in k})
