"""The public reward checkpoints <-> ours: at full size by name and shape, at a small size bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from hummingbird.errors import UserError
from hummingbird.models.convert import internvideo2, open_clip, viclip
from hummingbird.models.rewards.internvideo2 import InternVideo2Config, InternVideo2Reward
from hummingbird.models.rewards.published import internvideo2_1b, viclip_l, vit_h14
from hummingbird.models.rewards.video_text import VideoTextConfig

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
    assert shapes(open_clip.to_public(model.state_dict(), vit_h14())) == about["keys"]


def test_the_text_tower_of_open_clip_is_part_of_it(manifests: Path) -> None:
    _, state = described(manifests / "open_clip_vit_h14_text.json")
    assert {name.removeprefix("model.") for name in state} - {"attn_mask"} <= open_clip.names(vit_h14()).keys()


def test_names_are_those_of_the_published_key_map(manifests: Path) -> None:
    rules = json.loads((manifests / "keymap_open_clip_to_transformers_clip.json").read_text())["rules"]
    ours = open_clip.names(vit_h14())
    for theirs, name in ours.items():
        [rule] = [rule for rule in rules if re.fullmatch(rule["source"], theirs)]
        match = re.fullmatch(rule["source"], theirs)
        assert match is not None
        if rule["op"] == "split3_dim0":
            split = open_clip.split_projections({name: torch.empty(3)})
            assert list(split) == [target.format(*match.groups()) for target in rule["target"]]
        else:
            assert name == rule["target"].format(*match.groups())
            assert (rule["op"] == "transpose") == (name in ("visual_projection.weight", "text_projection.weight"))


def test_every_key_of_viclip_converts_at_full_size(manifests: Path) -> None:
    about, state = described(manifests / "viclip_l.json")
    model = viclip.load(state, viclip_l())
    assert sum(p.numel() for p in model.parameters()) == about["total_params"] - 1 == 427_590_144  # without temp
    ours, unused = viclip.to_ours(state, viclip_l())
    assert unused.keys() == {"temp"}
    assert shapes(viclip.to_public(ours, viclip_l(), unused)) == about["keys"]


def test_every_key_of_internvideo2_converts_at_full_size(manifests: Path) -> None:
    about, state = described(manifests / "internvideo2_stage2_1b_vision.json")
    config = internvideo2_1b()
    with init_empty_weights(include_buffers=False):
        own = InternVideo2Reward(config).state_dict()
    # The manifest has no text tower; its names are tested by the golden data, its shapes are BERT-large's.
    text = {name: own[ours] for name, ours in internvideo2.text_names(config).items() if name not in about["keys"]}
    assert all(name.startswith("text_encoder.bert.") for name in text)
    ours, unused = internvideo2.to_ours(state | text, config)
    internvideo2.load(state | text, config)
    assert count(unused) == about["unused_for_reward_params"]
    assert all(name.startswith(tuple(about["unused_for_reward_prefixes"])) for name in unused)
    tower = {name: it for name, it in ours.items() if name.startswith("vision_model.") and ".projection." not in name}
    assert count(tower) == about["reward_path_params_vision"] == 1_019_628_672
    assert shapes(internvideo2.to_public(ours, config, unused)) == about["keys"] | shapes(text)
    with init_empty_weights(include_buffers=False):
        assert list(InternVideo2Reward(config).vision_model.positions(8).shape) == about["pos_embed_for_8_frames"]


def test_open_clip_comes_back_bit_for_bit() -> None:
    public = open_clip.to_public(
        {n: torch.randn(t.shape).half() for n, t in CLIPModel(CLIP).state_dict().items()}, CLIP
    )
    assert_same(open_clip.to_public(open_clip.load(public, CLIP).state_dict(), CLIP), public)
    wrapped = {f"module.{name}": tensor for name, tensor in public.items()}
    assert_same(open_clip.to_ours(wrapped, CLIP), open_clip.to_ours(public, CLIP))


def test_viclip_comes_back_bit_for_bit() -> None:
    own = viclip.VideoTextReward(VICLIP).state_dict()
    public = viclip.to_public({name: torch.randn(it.shape).half() for name, it in own.items()}, VICLIP)
    public["temp"] = torch.tensor(0.01)
    assert public["vision_encoder.conv1.weight"].shape == (12, 3, 1, 4, 4)
    assert public["vision_encoder.temporal_positional_embedding"].shape == (1, 3, 12)
    _, unused = viclip.to_ours(public, VICLIP)
    assert_same(viclip.to_public(viclip.load(public, VICLIP).state_dict(), VICLIP, unused), public)


def test_internvideo2_comes_back_bit_for_bit_with_what_it_does_not_use() -> None:
    own = InternVideo2Reward(INTERNVIDEO2).state_dict()
    public = internvideo2.to_public({name: torch.randn(it.shape).half() for name, it in own.items()}, INTERNVIDEO2)
    spare = (
        *("temp", "itm_head.weight", "text_encoder.cls.predictions.bias", "vision_encoder.clip_pos_embed"),
        *("vision_encoder.final_clip_decoder.head.bias", "text_encoder.bert.embeddings.position_ids"),
        "text_encoder.bert.encoder.layer.2.crossattention.self.query.weight",
    )
    public |= {name: torch.randn(2) for name in spare}
    _, unused = internvideo2.to_ours(public, INTERNVIDEO2)
    assert unused.keys() == set(spare)
    reward = internvideo2.load(public, INTERNVIDEO2)
    assert not reward.training and not any(parameter.requires_grad for parameter in reward.parameters())
    assert_same(internvideo2.to_public(reward.state_dict(), INTERNVIDEO2, unused), public)


def test_pick_score_is_read_without_its_buffers() -> None:
    state = {name: torch.randn(it.shape) for name, it in CLIPModel(CLIP).state_dict().items()}
    buffers = {f"{tower}_model.embeddings.position_ids": torch.arange(4)[None] for tower in ("text", "vision")}
    assert_same(open_clip.load_transformers(state | buffers, CLIP).state_dict(), state)


def test_wrong_checkpoints_are_refused() -> None:
    public = open_clip.to_public(CLIPModel(CLIP).state_dict(), CLIP)
    name = "transformer.resblocks.1.attn.in_proj_bias"
    with pytest.raises(UserError, match=f"1 missing: {name}"):
        open_clip.load({key: it for key, it in public.items() if key != name}, CLIP)
    with pytest.raises(UserError, match=r"1 left over: score_predictor\.weight"):
        open_clip.load(public | {"score_predictor.weight": torch.ones(1)}, CLIP)
    with pytest.raises(UserError, match=r"1 of another shape: visual_projection.weight \[9, 12\]"):
        open_clip.load(public | {"visual.proj": torch.ones(12, 9)}, CLIP)
    own = InternVideo2Reward(INTERNVIDEO2).state_dict()
    with pytest.raises(UserError, match=r"1 left over: vision_encoder\.clip_projection"):
        state = internvideo2.to_public(own, INTERNVIDEO2)
        internvideo2.load(state | {"vision_encoder.clip_projection": torch.ones(1)}, INTERNVIDEO2)
    with pytest.raises(UserError, match=r"16 missing: text_model\.bert\.encoder\.layer\.1\."):
        internvideo2.to_public({k: v for k, v in own.items() if "encoder.layer.1." not in k}, INTERNVIDEO2)
