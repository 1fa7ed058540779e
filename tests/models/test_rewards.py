from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hummingbird.data import world
from hummingbird.miniature.reward_data import PairSampler, change_fact, make_pairs, to_clips, wrong_captions
from hummingbird.miniature.rewards import SIZES, ContrastiveMethod, build
from hummingbird.models.rewards.image_text import ImageTextReward
from hummingbird.models.rewards.preprocess import CLIP_MEAN, CLIP_STD, prepare_frames, token_ids
from hummingbird.models.rewards.video_text import VideoTextReward
from hummingbird.models.text import build_world_tokenizer
from hummingbird.runlog import SilentLog

PROMPTS = ["a large plain red circle stays still on sea", "a small dotted blue ring moves slowly left on sand"]
ASSETS = Path(__file__).parents[2] / "assets/miniature"


@pytest.fixture(scope="module")
def image_reward() -> ImageTextReward:
    torch.manual_seed(0)
    reward = build("image", SIZES["image", False], build_world_tokenizer())
    assert isinstance(reward, ImageTextReward)
    return reward.eval()


@pytest.fixture(scope="module")
def video_reward() -> VideoTextReward:
    torch.manual_seed(0)
    reward = build("video", SIZES["video", False], build_world_tokenizer())
    assert isinstance(reward, VideoTextReward)
    torch.nn.init.normal_(reward.vision_model.temporal_embedding)
    return reward.requires_grad_(False).eval()


def test_frames_are_resized_cropped_and_normalised() -> None:
    frames = torch.rand(2, 3, 20, 50)
    out = prepare_frames(frames, 10, CLIP_MEAN, CLIP_STD)
    whole = F.interpolate(frames, (10, 25), mode="bicubic", antialias=True)
    expected = (whole[..., 8:18] - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]
    torch.testing.assert_close(out, expected)  # offset round(7.5) = 8: half to even


def test_padding_does_not_change_text_features(image_reward: ImageTextReward, video_reward: VideoTextReward) -> None:
    padded = token_ids(image_reward.tokenizer, [PROMPTS[0], " ".join([PROMPTS[1]] * 3)])
    assert padded.shape == (2, 24)
    for reward in (image_reward, video_reward):
        alone = reward.encode_text(PROMPTS[:1])
        beside = reward.encode_text([PROMPTS[0], " ".join([PROMPTS[1]] * 3)])[:1]
        torch.testing.assert_close(alone, beside, atol=1e-5, rtol=0)


def test_image_score_is_a_differentiable_cosine_with_frozen_weights(image_reward: ImageTextReward) -> None:
    frames = torch.rand(2, 3, 32, 32, requires_grad=True)
    score = image_reward.score(frames, PROMPTS)
    torch.testing.assert_close(
        score, F.cosine_similarity(image_reward.encode_image(frames), image_reward.encode_text(PROMPTS))
    )
    score.sum().backward()
    assert frames.grad is not None and frames.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in image_reward.parameters())


def test_video_score_is_a_differentiable_cosine(video_reward: VideoTextReward) -> None:
    video = torch.rand(2, 8, 3, 48, 48, requires_grad=True)
    score = video_reward.score(video, PROMPTS)
    score.sum().backward()
    assert score.shape == (2,) and score.abs().max() <= 1
    assert video.grad is not None and (video.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()  # every frame counts


def test_scores_refuse_unpaired_prompts(image_reward: ImageTextReward, video_reward: VideoTextReward) -> None:
    with pytest.raises(ValueError, match="1 frames, but 2 prompts"):
        image_reward.score(torch.rand(1, 3, 32, 32), PROMPTS)
    with pytest.raises(ValueError, match="1 clips, but 2 prompts"):
        video_reward.score(torch.rand(1, 8, 3, 32, 32), PROMPTS)


def test_scores_refuse_pictures_that_are_not_rgb(image_reward: ImageTextReward, video_reward: VideoTextReward) -> None:
    with pytest.raises(ValueError, match="RGB frames"):
        image_reward.score(torch.rand(2, 4, 32, 32), PROMPTS)
    with pytest.raises(ValueError, match="RGB frames"):
        video_reward.score(torch.rand(2, 8, 1, 32, 32), PROMPTS)


def test_video_model_sees_time_but_not_the_order_of_tokens(video_reward: VideoTextReward) -> None:
    video = torch.rand(1, 8, 3, 32, 32)
    features = video_reward.encode_video(video)
    assert (features - video_reward.encode_video(video.flip(1))).abs().max() > 1e-3
    shuffled = video_reward.encode_video(video, keep=torch.randperm(128))
    torch.testing.assert_close(features, shuffled, atol=1e-5, rtol=0)


def test_longer_clips_are_seen_at_a_stride(video_reward: VideoTextReward) -> None:
    video = torch.rand(1, 17, 3, 32, 32)
    torch.testing.assert_close(video_reward.encode_video(video, start=1), video_reward.encode_video(video[:, 1:16:2]))
    with pytest.raises(ValueError, match="outside"):
        video_reward.encode_video(video, start=2)
    with pytest.raises(ValueError, match="5 frames"):
        video_reward.encode_video(video[:, :5])


def test_one_frame_takes_the_mean_of_the_temporal_positions(video_reward: VideoTextReward) -> None:
    tower = video_reward.vision_model
    frame = torch.rand(1, 1, 3, 32, 32)
    expected = tower(frame)
    table = tower.temporal_embedding.data.clone()
    try:
        tower.temporal_embedding.data[:] = table.mean(0)
        torch.testing.assert_close(tower(frame), expected)
        tower.temporal_embedding.data[:] = table[0]
        assert (tower(frame) - expected).abs().max() > 1e-3
    finally:
        tower.temporal_embedding.data.copy_(table)


def test_rewards_survive_saving(image_reward: ImageTextReward, video_reward: VideoTextReward, tmp_path: Path) -> None:
    frames, video = torch.rand(2, 3, 32, 32), torch.rand(2, 8, 3, 32, 32)
    image_reward.save_pretrained(tmp_path / "image")
    video_reward.save_pretrained(tmp_path / "video")
    image, clip = (
        ImageTextReward.from_pretrained(tmp_path / "image"),
        VideoTextReward.from_pretrained(tmp_path / "video"),
    )
    torch.testing.assert_close(image.score(frames, PROMPTS), image_reward.score(frames, PROMPTS))
    torch.testing.assert_close(clip.score(video, PROMPTS), video_reward.score(video, PROMPTS))
    assert not clip.training and not any(p.requires_grad for p in clip.parameters())


def test_wrong_captions_differ_in_one_fact() -> None:
    rng = np.random.default_rng(0)
    for index in range(40):
        scene = world.make_clip(3, index).scene
        for fact in ("color", "shape", "background", "motion", "texture"):
            other = change_fact(scene, fact, rng)
            assert other is not None and world.caption(other) != world.caption(scene)
        assert (change_fact(scene, "relation", rng) is None) == (scene.relation is None)
        assert world.caption(scene) not in wrong_captions(scene, "image", 8, rng)
    still = world.Scene(scene.objects[:1], None, "sea", "still", None)
    changed = {world.caption(change_fact(still, "motion", rng) or still) for _ in range(30)}
    assert len(changed) > 5 and world.caption(still) not in changed


def test_samples_depend_on_the_step_only() -> None:
    pairs = make_pairs(1, 16, "video", SilentLog())
    sampler = PairSampler(pairs, "video", batch_size=8, wrong=2, seed=5)
    first, again, other = sampler(3), sampler(3), sampler(4)
    assert torch.equal(first.bad, again.bad) and first.wrong == again.wrong
    assert not torch.equal(first.clean, other.clean)
    assert first.clean.shape == (8, 8, 3, 32, 32) and len(first.wrong) == 16


def test_contrastive_loss_falls_on_a_small_set() -> None:
    torch.manual_seed(0)
    reward = build("image", SIZES["image", False], build_world_tokenizer()).requires_grad_(True)
    batch = PairSampler(make_pairs(1, 8, "image", SilentLog()), "image", batch_size=8, wrong=1, seed=1)(0)
    method = ContrastiveMethod(reward, "image")
    optimizer = torch.optim.AdamW(method.trainable.parameters(), lr=1e-3)
    losses = []
    for step in range(25):
        loss, _ = method.loss(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.fixture(scope="module")
def judged() -> tuple[list[world.Clip], torch.Tensor, list[str]]:
    clips = [world.make_clip(77, index, held_out=True) for index in range(48)]
    return clips, to_clips(np.stack([clip.video for clip in clips])), [clip.caption for clip in clips]


SHIPPED = pytest.mark.skipif(
    not (ASSETS / "video_reward_eval").exists(), reason="the shipped rewards are not in this checkout"
)
# The bounds are what a reward should reach; what the shipped ones do not reach yet is listed here, and a test that
# begins to pass fails until it is taken off the list.
SHORT_OF_IT = {
    ("image_reward", "shape"): 0.75,
    ("image_reward_eval", "shape"): 0.69,
    ("video_reward", "shape"): 0.69,
    ("video_reward", "motion"): 0.56,
    ("video_reward_eval", "shape"): 0.67,
    ("video_reward_eval", "motion"): 0.52,
    ("video_reward_eval", "clean"): 0.71,
}


def _cases(names: tuple[str, ...], aspects: tuple[str, ...]) -> list[Any]:
    def marks(name: str, aspect: str) -> list[pytest.MarkDecorator]:
        found = SHORT_OF_IT.get((name, aspect))
        return [] if found is None else [pytest.mark.xfail(strict=True, reason=f"measured: {found}")]

    return [pytest.param(name, aspect, marks=marks(name, aspect)) for name in names for aspect in aspects]


IMAGE, VIDEO = ("image_reward", "image_reward_eval"), ("video_reward", "video_reward_eval")


def _score(name: str, videos: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    if name.startswith("image"):
        return ImageTextReward.from_pretrained(ASSETS / name).score(videos[:, 4], prompts)
    return VideoTextReward.from_pretrained(ASSETS / name).score(videos, prompts)


@SHIPPED
@pytest.mark.parametrize(
    ("name", "fact"),
    [*_cases(IMAGE, ("color", "background", "shape")), *_cases(VIDEO, ("color", "background", "shape", "motion"))],
)
def test_shipped_rewards_prefer_the_right_caption(
    name: str, fact: str, judged: tuple[list[world.Clip], torch.Tensor, list[str]]
) -> None:
    clips, videos, right = judged
    rng = np.random.default_rng(0)
    wrong = [world.caption(change_fact(clip.scene, fact, rng) or clip.scene) for clip in clips]
    better = _score(name, videos, right) > _score(name, videos, wrong)
    assert float(better.float().mean()) > (0.9 if fact == "motion" else 0.8)


@SHIPPED
@pytest.mark.parametrize(("name", "aspect"), _cases((*IMAGE, *VIDEO), ("clean",)))
def test_shipped_rewards_prefer_clean_clips(
    name: str, aspect: str, judged: tuple[list[world.Clip], torch.Tensor, list[str]]
) -> None:
    _, videos, right = judged
    noisy = (videos + 0.1 * torch.randn(videos.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert float((_score(name, videos, right) > _score(name, noisy, right)).float().mean()) > 0.9
