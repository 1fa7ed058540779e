"""Trains the miniature's reward models: contrastive learning on the world with hard negatives on both sides.

Each clip must prefer its own caption to all other captions of the batch and to its own with one fact changed; each
caption must prefer its clip to all other clips and to spoilt copies, its own among them. The temperature is fixed, so
that cosines spread out instead of the temperature growing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from hummingbird.data import world
from hummingbird.miniature.reward_data import (
    NAMED_FACTS,
    Batch,
    Kind,
    PairSampler,
    change_fact,
    facts_of,
    make_pairs,
    spoil_copy,
    spoilage_of,
    to_clips,
)
from hummingbird.models.rewards.image_text import ImageTextReward
from hummingbird.models.rewards.video_text import VideoTextConfig, VideoTextReward
from hummingbird.models.text import build_world_tokenizer
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import config_key

Reward = ImageTextReward | VideoTextReward

SCALE = 14.0  # inverse temperature: right and wrong need cosines about 0.6 apart to be told apart for sure
CLIPS = 4096
WRONG_CAPTIONS = 3


@dataclass(frozen=True, slots=True)
class Size:
    """Vision and text towers of one miniature reward."""

    width: int
    layers: int
    patch: int
    text_width: int
    steps: int
    batch_size: int = 64
    learning_rate: float = 2e-3


#: The held-out models (for evaluation only) differ in seed, data and shape.
SIZES: dict[tuple[Kind, bool], Size] = {
    ("image", False): Size(width=96, layers=3, patch=4, text_width=64, steps=600),
    ("image", True): Size(width=128, layers=3, patch=8, text_width=80, steps=600),
    ("video", False): Size(width=64, layers=2, patch=8, text_width=64, steps=800, batch_size=32),
    ("video", True): Size(width=72, layers=2, patch=8, text_width=48, steps=800, batch_size=32),
}


def build(kind: Kind, size: Size, tokenizer: CLIPTokenizer) -> Reward:
    """An untrained reward of this size."""
    towers = {
        "text_config": {
            "vocab_size": len(tokenizer),
            "hidden_size": size.text_width,
            "intermediate_size": 2 * size.text_width,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": tokenizer.model_max_length,
            "projection_dim": 64,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        "vision_config": {
            "hidden_size": size.width,
            "intermediate_size": 2 * size.width,
            "num_hidden_layers": size.layers,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": size.patch,
            "projection_dim": 64,
        },
        "projection_dim": 64,
        "logit_scale_init_value": float(np.log(SCALE)),
    }
    if kind == "image":
        return ImageTextReward(CLIPModel(CLIPConfig(**towers)), tokenizer)
    return VideoTextReward(VideoTextConfig(**towers), tokenizer)


def encode(reward: Reward, clips: Tensor) -> Tensor:
    """Unit features of clips [B, T, 3, H, W]; an image reward looks at the middle frame."""
    if isinstance(reward, ImageTextReward):
        return reward.encode_image(clips[:, clips.shape[1] // 2])
    return reward.encode_video(clips)


class ContrastiveMethod:
    """The loss described at the top of this file, and the naming of single facts by heads that are thrown away."""

    def __init__(self, reward: Reward, kind: Kind) -> None:
        self.reward = reward
        config = reward.clip.config if isinstance(reward, ImageTextReward) else reward.config
        facts = [fact for fact in NAMED_FACTS if fact in facts_of(kind)]
        self.heads = nn.ModuleDict({fact: nn.Linear(config.projection_dim, len(NAMED_FACTS[fact])) for fact in facts})
        self.trainable = nn.ModuleDict({"reward": reward, "heads": self.heads})

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        count = len(batch.clean)
        clips = encode(self.reward, torch.cat([batch.clean, batch.bad]))
        texts = self.reward.text_features([*batch.captions, *batch.wrong])
        same = _same(batch.captions, [*batch.captions, *batch.wrong])
        to_text = SCALE * clips[:count] @ texts.T
        to_clip = SCALE * texts[:count] @ clips.T
        target = torch.arange(count)
        # Another clip with this very caption is no negative; a spoilt copy of it is.
        to_text = to_text.masked_fill(same & ~torch.eye(*same.shape, dtype=torch.bool), -torch.inf)
        twins = same[:, :count] & ~torch.eye(count, dtype=torch.bool)
        to_clip = to_clip.masked_fill(torch.cat([twins, torch.zeros_like(twins)], dim=1), -torch.inf)
        loss = F.cross_entropy(to_text, target) + F.cross_entropy(to_clip, target)
        figures = {
            "text_accuracy": _accuracy(to_text, target),
            "clip_accuracy": _accuracy(to_clip, target),
            "score": to_text.detach().diagonal().mean() / SCALE,
        }
        for fact, labels in batch.labels.items():
            logits = self.heads[fact](SCALE * clips[:count])
            loss = loss + F.cross_entropy(logits, labels)
            figures[f"named/{fact}"] = _accuracy(logits, labels)
        return loss, figures


def _accuracy(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == target).float().mean()


def _same(rows: list[str], columns: list[str]) -> Tensor:
    return torch.tensor([[row == column for column in columns] for row in rows])


def train(
    out: Path, *, seed: int, budget: float, work: Path, log: RunLog, kind: Kind = "image", held_out_model: bool = False
) -> dict[str, float]:
    """Train a reward from nothing and save it in ``out``; ``budget`` multiplies the steps. Returns its quality."""
    size = SIZES[kind, held_out_model]
    torch.manual_seed(seed)
    reward = build(kind, size, build_world_tokenizer()).requires_grad_(True)
    pairs = make_pairs(seed, max(size.batch_size, round(CLIPS * min(1.0, budget))), kind, log)
    sampler = PairSampler(pairs, kind, batch_size=size.batch_size, wrong=WRONG_CAPTIONS, seed=seed)
    optim = Optim(
        steps=max(2, round(size.steps * budget)),
        batch_size=size.batch_size,
        learning_rate=size.learning_rate,
        warmup_steps=round(40 * budget),
        weight_decay=0.02,
    )
    method = ContrastiveMethod(reward, kind)
    work = work / f"{kind}_reward_{config_key(size, seed, budget)}"
    Trainer(method, sampler, optim, work=work, seed=seed, log=log, description=f"{kind} reward", on_cpu=True).fit()
    reward.requires_grad_(False).eval()
    figures = quality(reward, kind, seed=seed + 1_000_000, count=max(32, round(256 * min(1.0, budget))))
    reward.half().save_pretrained(out)
    return figures


@torch.no_grad()
def quality(reward: Reward, kind: Kind, *, seed: int, count: int) -> dict[str, float]:
    """How far the reward can be trusted, on combinations kept out of training.

    ``right/FACT``: how often the right caption beats the one with this fact changed. ``clean/KIND``: how often a clean
    clip beats its spoilt copy. ``gap/...``: the mean difference of the two scores.
    """
    rng = np.random.default_rng([seed, 2])
    clips = [world.make_clip(seed, index, held_out=True) for index in range(count)]
    # Held-out scenes have one object: relation and binding are judged on fresh scenes with two.
    twos = [clip for clip in (world.make_clip(seed + 1, index) for index in range(count)) if clip.scene.relation]
    every = clips + twos
    features = _features(reward, every)
    right = (features * reward.encode_text([clip.caption for clip in every])).sum(-1)
    figures = {"n": float(count), "score": float(right[:count].mean())}

    def compare(name: str, what: str, rows: list[int], worse: Tensor) -> None:
        gap = right[rows] - worse
        figures[f"{name}/{what}"] = float((gap > 0).float().mean())
        figures[f"gap/{what}"] = float(gap.mean())

    for fact in facts_of(kind):
        candidates = range(count, len(every)) if fact in ("relation", "binding") else range(count)
        changed = {row: change_fact(every[row].scene, fact, rng) for row in candidates}
        stated = {row: world.caption(scene) for row, scene in changed.items() if scene is not None}
        if stated:
            texts = reward.encode_text(list(stated.values()))
            compare("right", fact, list(stated), (features[list(stated)] * texts).sum(-1))
    for spoilage in spoilage_of(kind):
        rows = [i for i, clip in enumerate(clips) if spoilage != "dolly_zoom" or clip.scene.motion == "still"]
        if rows:
            spoilt = [replace(clips[row], video=spoil_copy(clips[row], spoilage, rng)) for row in rows]
            texts = reward.encode_text([clip.caption for clip in spoilt])
            compare("clean", spoilage, rows, (_features(reward, spoilt) * texts).sum(-1))
    return figures


def _features(reward: Reward, clips: list[world.Clip]) -> Tensor:
    videos = to_clips(np.stack([clip.video for clip in clips]))
    return torch.cat([encode(reward, part) for part in videos.split(64)])
