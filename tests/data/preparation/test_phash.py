from __future__ import annotations

import cv2
import numpy as np

from hummingbird.data.preparation.phash import Thumbnail, clip_hash, thumbnail
from tests.data.preparation.videos import Pictures, pictures


def thumbnails(video: Pictures) -> list[Thumbnail]:
    return [thumbnail(frame[..., ::-1]) for frame in video]


def distance(one: Pictures, other: Pictures) -> int:
    return (clip_hash(thumbnails(one)) ^ clip_hash(thumbnails(other))).bit_count()


def test_a_copy_is_near_and_another_clip_is_far() -> None:
    video = pictures(16, 120, 160)
    small = np.stack([cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA) for frame in video])
    darker = (video * 0.7).astype(np.uint8)
    noisy = np.clip(video + np.random.default_rng(0).normal(0, 6, video.shape), 0, 255).astype(np.uint8)
    for copy in (small, darker, noisy, video[::2]):
        assert distance(video, copy) <= 3
    for seed in range(1, 9):
        assert distance(video, pictures(16, 120, 160, seed=seed)) > 12


def test_half_of_the_64_bits_are_set() -> None:
    for seed in range(5):
        assert clip_hash(thumbnails(pictures(3, seed=seed))).bit_count() == 32


def test_a_flat_picture_has_no_hash() -> None:
    assert clip_hash(thumbnails(np.zeros((4, 32, 32, 3), np.uint8))) == 0
    assert clip_hash(thumbnails(np.full((4, 50, 50, 3), 255, np.uint8))) == 0
