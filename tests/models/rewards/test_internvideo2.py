from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig, BertTokenizer

from hummingbird.models.rewards.internvideo2 import InternVideo2Config, InternVideo2Reward
from hummingbird.models.rewards.internvideo2_tower import InternVideo2Tower

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "ring", "moves", "##s"]
PROMPTS = ["a red ring", "a blue ring moves a red ring"]


def tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}, model_max_length=512)


def small(**changes: object) -> InternVideo2Config:
    text = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    return InternVideo2Config(
        **{
            "text_config": BertConfig(**text, num_attention_heads=2, max_position_embeddings=48),
            "image_size": 8,
            "patch_size": 4,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 40,
            "pool_heads": 2,
            "pool_dim": 12,
            "projection_dim": 10,
            "trained_frames": 2,
            "num_frames": 4,
            **changes,
        }
    )


def build(**changes: object) -> InternVideo2Reward:
    """Random weights, none of them at its neutral initial value."""
    torch.manual_seed(0)
    reward = InternVideo2Reward(small(**changes), tokenizer())
    for parameter in reward.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return reward.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def reward() -> InternVideo2Reward:
    return build()


def by_hand(tower: InternVideo2Tower, video: Tensor, heads: int, pool_heads: int) -> Tensor:
    """The tower again, from its description: loops and plain softmax."""
    w = dict(tower.named_parameters())

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(()))

    def rms(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attend(q: Tensor, k: Tensor, v: Tensor, count: int) -> Tensor:
        parts = []
        for a, b, c in zip(q.chunk(count, -1), k.chunk(count, -1), v.chunk(count, -1), strict=True):
            parts.append((a @ b.transpose(1, 2) / a.shape[-1] ** 0.5).softmax(-1) @ c)
        return torch.cat(parts, -1)

    patches = [
        (video[:, t, :, y : y + 4, x : x + 4].flatten(1) @ w["patch_embedding.weight"].flatten(1).T)
        + w["patch_embedding.bias"]
        for t in range(video.shape[1])
        for y in (0, 4)
        for x in (0, 4)
    ]
    hidden = torch.stack([w["class_token"][0].expand(len(video), -1), *patches], 1) + w["video_positions"]
    for index in range(2):
        block = f"blocks.{index}."
        q, k, v = linear(rms(hidden, f"{block}norm1"), f"{block}attn.qkv").chunk(3, -1)
        mixed = attend(rms(q, f"{block}attn.q_norm"), rms(k, f"{block}attn.k_norm"), v, heads)
        hidden = hidden + linear(mixed, f"{block}attn.proj") * w[f"{block}scale1"]
        wide = F.gelu(linear(rms(hidden, f"{block}norm2"), f"{block}fc1"), approximate="tanh")
        hidden = hidden + linear(wide, f"{block}fc2") * w[f"{block}scale2"]
    q = linear(norm(hidden.mean(1, keepdim=True), "pool.norm_q"), "pool.q")
    k, v = (linear(norm(hidden, f"pool.norm_{it}"), f"pool.{it}") for it in "kv")
    return linear(linear(attend(q, k, v, pool_heads)[:, 0], "pool.proj"), "projection")


def test_tower_equals_its_description(reward: InternVideo2Reward) -> None:
    video = torch.randn(2, 2, 3, 8, 8)
    expected = by_hand(reward.vision_model, video, heads=3, pool_heads=2)
    torch.testing.assert_close(reward.vision_model(video), expected, atol=2e-5, rtol=1e-5)


def test_the_exact_gelu_is_another_network(reward: InternVideo2Reward) -> None:
    video = torch.randn(1, 2, 3, 8, 8)
    assert (build(hidden_act="gelu").vision_model(video) - reward.vision_model(video)).abs().max() > 1e-5


def test_positions_between_the_trained_frames_are_interpolated(reward: InternVideo2Reward) -> None:
    tower = reward.vision_model
    table = tower.video_positions
    assert tower.positions(2) is table and tower.positions(1) is tower.image_positions
    longer = tower.positions(4)
    assert longer.shape == (1, 1 + 4 * 4, 24) and torch.equal(longer[:, :1], table[:, :1])
    first, second = table[0, 1:5], table[0, 5:9]
    expected = [first, 0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second, second]
    torch.testing.assert_close(longer[0, 1:], torch.cat(expected))


def test_score_is_a_differentiable_cosine_with_frozen_weights(reward: InternVideo2Reward) -> None:
    video = torch.rand(2, 4, 3, 10, 12, requires_grad=True)
    score = reward.score(video, PROMPTS)
    expected = F.cosine_similarity(reward.encode_video(video), reward.encode_text(PROMPTS))
    torch.testing.assert_close(score, expected)
    score.sum().backward()
    assert video.grad is not None and (video.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()  # every frame counts
    assert all(parameter.grad is None for parameter in reward.parameters())


def test_the_order_of_frames_matters(reward: InternVideo2Reward) -> None:
    video = torch.rand(1, 4, 3, 8, 8)
    assert (reward.encode_video(video) - reward.encode_video(video.flip(1))).abs().max() > 1e-3


def test_computing_blocks_again_gives_the_same_gradient(reward: InternVideo2Reward) -> None:
    video = torch.rand(1, 4, 3, 8, 8, requires_grad=True)
    gradients = []
    for again in (True, False):
        reward.vision_model.checkpoint_blocks = again
        gradients += torch.autograd.grad(reward.score(video, PROMPTS[:1]).sum(), video)
    reward.vision_model.checkpoint_blocks = True
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=0)


def test_wrong_clips_are_refused(reward: InternVideo2Reward) -> None:
    with pytest.raises(ValueError, match=r"a clip of 3 frames; the tower takes 1, 2 or 4"):
        reward.score(torch.rand(1, 3, 3, 8, 8), PROMPTS[:1])
    with pytest.raises(ValueError, match="RGB frames"):
        reward.score(torch.rand(1, 4, 4, 8, 8), PROMPTS[:1])
    with pytest.raises(ValueError, match="1 clips, but 2 prompts"):
        reward.score(torch.rand(1, 4, 3, 8, 8), PROMPTS)
    with pytest.raises(ValueError, match="all patches"):
        reward.encode_video(torch.rand(1, 4, 3, 8, 8), keep=torch.arange(2))


def test_a_longer_clip_is_seen_at_a_stride(reward: InternVideo2Reward) -> None:
    video = torch.rand(1, 9, 3, 8, 8)
    torch.testing.assert_close(reward.encode_video(video, start=1), reward.encode_video(video[:, 1:8:2]))


def test_padding_is_masked_and_long_prompts_are_cut(reward: InternVideo2Reward) -> None:
    beside = reward.encode_text(PROMPTS)[:1]
    torch.testing.assert_close(reward.encode_text(PROMPTS[:1]), beside, atol=1e-6, rtol=0)
    long = reward.encode_text(["red " * 100])
    torch.testing.assert_close(long, reward.encode_text(["red " * 38]))  # 40 tokens with [CLS] and [SEP]
    assert (long - reward.encode_text(["red " * 37])).abs().max() > 1e-4


def test_survives_saving(reward: InternVideo2Reward, tmp_path: Path) -> None:
    reward.save_pretrained(tmp_path)
    again = InternVideo2Reward.from_pretrained(tmp_path)
    video = torch.rand(2, 4, 3, 8, 8)
    assert torch.equal(again.score(video, PROMPTS), reward.score(video, PROMPTS))
    assert not again.training and not any(parameter.requires_grad for parameter in again.parameters())
    half = InternVideo2Reward.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.score(video, PROMPTS).dtype == torch.float32
    torch.testing.assert_close(half.score(video, PROMPTS), reward.score(video, PROMPTS), atol=0.05, rtol=0)
