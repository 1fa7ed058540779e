"""Motion by optical flow: right measurements of known motion, and verdicts against the world's ground truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hummingbird.data import world
from hummingbird.data.motion import motion_reason, motion_scores, sample_frames
from hummingbird.params import MotionFilter

BOUNDS = {"max_static": MotionFilter().max_static, "max_dolly_zoom": MotionFilter().max_dolly_zoom}


def _camera(frames: int = 6, *, zoom: float = 1.0, shift: float = 0.0, turn: float = 0.0, held: int = 0) -> np.ndarray:
    """A textured plane seen by a camera that zooms, shifts and turns by so much per frame; ``held``: half the side of a
    square in the middle that does not follow."""
    rng = np.random.default_rng(0)
    plane = cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3)).astype(np.uint8), (0, 0), 2.5)
    plane = cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX)
    out = []
    for t in range(frames):
        matrix = cv2.getRotationMatrix2D((63.5, 63.5), np.degrees(turn * t), zoom**t)
        matrix[0, 2] += shift * t
        frame = cv2.warpAffine(plane, matrix, (128, 128), borderMode=cv2.BORDER_REFLECT)
        if held:
            middle = slice(64 - held, 64 + held)
            frame[middle, middle] = plane[::-1][middle, middle]
        out.append(frame)
    return np.stack(out)


def test_pan_zoom_and_rotation_are_measured() -> None:
    assert motion_scores(_camera(shift=2.0)).camera_pan == pytest.approx(5 * 2 / 128, rel=0.1)
    assert motion_scores(_camera(zoom=1.05)).camera_zoom == pytest.approx(5 * np.log(1.05), rel=0.1)
    assert motion_scores(_camera(zoom=1 / 1.05)).camera_zoom == pytest.approx(-5 * np.log(1.05), rel=0.1)
    assert abs(motion_scores(_camera(turn=0.03)).camera_rotation) == pytest.approx(5 * 0.03, rel=0.1)


def test_camera_motion_is_not_subject_motion() -> None:
    moving = _camera()
    for t in range(6):
        moving[t, 40:80, 30 + 4 * t : 70 + 4 * t] = moving[0, 40:80, 30:70]
    assert motion_scores(moving).subject_motion > 5 * motion_scores(_camera(shift=2.0)).subject_motion


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (_camera(), "static"),
        (_camera(zoom=1.08), ""),
        (_camera(zoom=1 / 1.08), ""),
        (_camera(shift=3.0), ""),
        (_camera(zoom=1.08, held=28), "dolly_zoom"),
        (_camera(zoom=1 / 1.08, held=28), "dolly_zoom"),
        (_camera(held=28, shift=3.0), ""),  # a pan that follows its subject
    ],
    ids=["frozen", "zoom in", "zoom out", "pan", "dolly in", "dolly out", "follow"],
)
def test_verdicts(clip: np.ndarray, reason: str) -> None:
    assert motion_reason(motion_scores(clip), **BOUNDS) == reason


def test_a_small_moving_thing_makes_a_fixed_camera_alive() -> None:
    clip = _camera()
    for t in range(6):
        clip[t, 60:76, 20 + 6 * t : 36 + 6 * t] = (255, 0, 0)
    scores = motion_scores(clip)
    assert scores.camera_pan < 0.01 and motion_reason(scores, **BOUNDS) == ""


def test_one_frame_is_static_and_none_is_an_error() -> None:
    assert motion_reason(motion_scores(_camera(1)), **BOUNDS) == "static"
    with pytest.raises(ValueError, match="at least one frame"):
        motion_scores(np.zeros((0, 8, 8, 3), np.uint8))


def test_sampling_thins_long_clips_from_the_middle_and_keeps_short_ones() -> None:
    numbered = np.arange(300, dtype=np.uint16).reshape(-1, 1, 1, 1)
    thinned = sample_frames(numbered, 30.0).ravel()
    assert len(thinned) == 24 and set(np.diff(thinned)) == {3} and thinned[0] == 114
    assert len(sample_frames(numbered[:8], 30.0)) == 8


def test_against_the_world() -> None:
    """Precision and recall on clips spoilt in motion, among clean ones of every motion."""
    kinds: list[str] = []
    reasons: list[str] = []
    for index in range(160):
        clip = world.make_clip(902, index, spoilt_share=0.4, kinds=world.MOTION_SPOILAGE)
        kinds.append(clip.scene.spoilage or "")
        reasons.append(motion_reason(motion_scores(clip.video), **BOUNDS))
    for kind in world.MOTION_SPOILAGE:
        right = sum(k == r == kind for k, r in zip(kinds, reasons, strict=True))
        assert kinds.count(kind) > 20
        assert right / kinds.count(kind) >= 0.85
        assert right / reasons.count(kind) >= 0.85
