from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertTokenizer, CLIPModel

from hummingbird.errors import UserError
from hummingbird.miniature.rewards import SIZES, build
from hummingbird.models.rewards.image_text import ImageTextReward
from hummingbird.models.rewards.internvideo2 import InternVideo2Config, InternVideo2Reward
from hummingbird.models.rewards.loading import load_reward
from hummingbird.models.rewards.published import vit_h14
from hummingbird.models.rewards.video_text import VideoTextReward
from hummingbird.models.text import build_world_tokenizer
from hummingbird.training.methods.mixture import RewardMixture

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "ring"]


def image_reward() -> ImageTextReward:
    """HPSv2.1's configuration with its sizes cut, squashing as PickScore is used."""
    tokenizer = build_world_tokenizer()
    config = vit_h14("squash")
    for tower in (config.text_config, config.vision_config):
        tower.hidden_size, tower.intermediate_size, tower.num_hidden_layers = 32, 64, 1
    config.vision_config.image_size = 28
    text = config.text_config
    text.vocab_size, text.bos_token_id, text.eos_token_id = len(tokenizer), *tokenizer("").input_ids
    config.text_config.pad_token_id = tokenizer.pad_token_id
    return ImageTextReward(CLIPModel(config), tokenizer)


def internvideo2() -> InternVideo2Reward:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = BertConfig(vocab_size=len(WORDS), **sizes)
    config = InternVideo2Config(text_config=text, image_size=28, pool_heads=2, pool_dim=16, projection_dim=8, **sizes)
    return InternVideo2Reward(config, BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("rewards")
    image_reward().save_pretrained(folder / "clip")
    build("video", SIZES["video", False], build_world_tokenizer()).save_pretrained(folder / "viclip")
    internvideo2().save_pretrained(folder / "internvideo2")
    return folder


def test_each_kind_is_told_by_its_configuration(saved: Path) -> None:
    assert isinstance(load_reward(saved / "clip", "image"), ImageTextReward)
    assert isinstance(load_reward(saved / "viclip", "video"), VideoTextReward)
    assert isinstance(load_reward(saved / "internvideo2", "video"), InternVideo2Reward)


def test_the_fit_is_saved_with_an_image_reward(saved: Path) -> None:
    reward = load_reward(saved / "clip", "image")
    assert isinstance(reward, ImageTextReward)
    frames = torch.rand(1, 3, 28, 50)
    squashed = reward.encode_image(frames)
    reward.clip.config.fit = "truncate"
    assert (reward.encode_image(frames) - squashed).abs().max() > 1e-3


@pytest.mark.parametrize("video", ["viclip", "internvideo2"])
def test_stage_2_can_take_them(saved: Path, video: str) -> None:
    rewards = [load_reward(saved / "clip", "image"), load_reward(saved / video, "video")]
    mixture = RewardMixture(*rewards, image_weight=1.0, video_weight=2.0, image_frames=2)
    clips = torch.rand(2, 16, 3, 32, 40, requires_grad=True)
    loss, figures = mixture(clips, ["a red ring", "a ring"])
    loss.backward()
    assert clips.grad is not None and clips.grad.abs().sum() > 0
    assert float(loss.detach()) == pytest.approx(
        float(-figures["image_reward"] - 2 * figures["video_reward"]), abs=1e-6
    )
    assert all(p.grad is None and not p.requires_grad for reward in rewards for p in reward.parameters())


def test_what_is_no_reward_of_this_sort_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds a reward of kind 'clip', which does not see videos"):
        load_reward(saved / "clip", "video")
    with pytest.raises(UserError, match=r"of kind 'internvideo2_reward', which does not see images\n.*clip"):
        load_reward(saved / "internvideo2", "image")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvideo2_rewards"}))
    with pytest.raises(UserError, match=r"something of kind .*\n.*did you mean 'internvideo2_reward'\?"):
        load_reward(tmp_path, "video")
    with pytest.raises(UserError, match="holds no reward"):
        load_reward(tmp_path / "absent", "video")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(UserError, match="not readable"):
        load_reward(tmp_path, "video")
