from __future__ import annotations

import pytest
import torch

from hummingbird.models.rewards.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    pick_frames,
    prepare_bytes,
    prepare_frames,
    token_ids,
)
from hummingbird.models.text import build_world_tokenizer


def test_squashing_keeps_the_whole_frame_and_cropping_does_not() -> None:
    frames = torch.zeros(1, 3, 16, 40)
    frames[..., :8] = 1  # a stripe at the left edge, which a crop to the centre cuts off
    ways = {fit: prepare_frames(frames, 16, CLIP_MEAN, CLIP_STD, fit) for fit in ("truncate", "squash")}
    assert {tuple(it.shape) for it in ways.values()} == {(1, 3, 16, 16)}
    assert ways["squash"].std() > 0.1 and ways["truncate"][:, 0].std() < 1e-5


def test_the_longer_side_is_rounded_down_or_to_the_nearest() -> None:
    frames = torch.rand(1, 3, 20, 36)  # 32 * 36 / 20 = 57.6
    corner = (0, 0)
    down = prepare_frames(frames, 32, CLIP_MEAN, CLIP_STD, corner=corner)
    nearest = prepare_frames(frames, 32, CLIP_MEAN, CLIP_STD, "round", corner=corner)
    assert (down - nearest).abs().max() > 1e-2


def test_a_given_corner_is_where_the_crop_starts() -> None:
    frames = torch.rand(1, 3, 16, 24)
    left, right = (prepare_frames(frames, 16, CLIP_MEAN, CLIP_STD, corner=(0, at)) for at in (0, 8))
    torch.testing.assert_close(left[..., 8:], right[..., :8])


def test_bytes_are_rounded_and_clamped() -> None:
    frames = torch.randint(0, 2, (1, 3, 20, 36), dtype=torch.uint8) * 255  # edges overshoot
    normalised, levels = prepare_bytes(frames, 16, CLIP_MEAN, CLIP_STD)
    assert levels.dtype == torch.uint8 and levels.shape == (1, 3, 16, 16)
    torch.testing.assert_close(normalised, prepare_frames(levels / 255, 16, CLIP_MEAN, CLIP_STD))
    smooth = prepare_frames(frames / 255, 16, CLIP_MEAN, CLIP_STD, antialias=False)
    assert (normalised - smooth).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 1, 8, 8), (3, 8, 8)])
def test_frames_that_are_not_rgb_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="RGB frames"):
        prepare_frames(torch.rand(shape), 8, CLIP_MEAN, CLIP_STD)


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown fit 'pad'; choose from truncate, round, squash"):
        prepare_frames(torch.rand(1, 3, 9, 8), 8, CLIP_MEAN, CLIP_STD, "pad")


def test_frames_are_picked_at_a_stride() -> None:
    video = torch.arange(17)[None, :, None]
    assert pick_frames(video, 8).flatten().tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert pick_frames(video, 8, 1).flatten().tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert pick_frames(video[:, :5], 8).shape[1] == 5  # no longer than it is


def test_entities_are_read_and_long_prompts_cut() -> None:
    tokenizer = build_world_tokenizer()
    plain, escaped = "a red circle & a blue ring", "a red circle &amp;amp; a blue ring"
    assert torch.equal(token_ids(tokenizer, [plain]), token_ids(tokenizer, [escaped]))
    short = token_ids(tokenizer, [plain], max_length=5)
    assert short.shape == (1, 5) and short[0, -1] == tokenizer.eos_token_id
    assert torch.equal(short[0, :4], token_ids(tokenizer, [plain])[0, :4])
