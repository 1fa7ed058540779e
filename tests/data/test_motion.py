"""Motion by optical flow: right measurements of known motion, and verdicts against the world's ground truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hummingbird.data import video_io, world
from hummingbird.data.motion import MotionScores, camera_kind, choose_pairs, motion_reason, motion_scores
from hummingbird.params import MotionFilter

BOUNDS = MotionFilter()


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


def _tunnel(frames: int = 8, speed: float = 0.16, size: int = 128) -> np.ndarray:
    """A camera that travels along a corridor: what is far moves slowly, what is near fast, with all rates between."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 256, (512, 512, 3)).astype(np.uint8), (0, 0), 3)
    wall = cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX)
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size * 2 - 1
    radius = np.maximum(np.maximum(np.abs(x), np.abs(y)), 0.05)
    around = np.where(np.abs(x) > np.abs(y), y / radius * np.sign(x), 2 + x / radius * np.sign(y)).astype(np.float32)
    depths = [1 / radius + speed * t for t in range(frames)]
    maps = [(around * 60 + 200, (60 * depth % 512).astype(np.float32)) for depth in depths]
    return np.stack([cv2.remap(wall, *pair, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for pair in maps])


def _plain(frames: int = 8, speed: float = 0.1, size: int = 128) -> np.ndarray:
    """A camera that travels between a floor and a ceiling: the horizon stays where it is, up to the border."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (512, 512, 3)).astype(np.uint8), (0, 0), 3)
    ground = cv2.normalize(ground, None, 0, 255, cv2.NORM_MINMAX)
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size * 2 - 1
    depth = 1 / np.maximum(np.abs(y), 0.08)
    across = ((x * depth * 40 + np.sign(y) * 100 + 256) % 512).astype(np.float32)
    ahead = [((depth + speed * t) * 40 % 512).astype(np.float32) for t in range(frames)]
    return np.stack([cv2.remap(ground, across, z, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for z in ahead])


def _shaken(frames: int = 12, size: int = 4) -> np.ndarray:
    """A textured plane seen by an unsteady hand."""
    rng = np.random.default_rng(1)
    plane = cv2.GaussianBlur(rng.integers(0, 256, (160, 160, 3)).astype(np.uint8), (0, 0), 2.5)
    plane = cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX)
    places = 16 + rng.integers(-size, size + 1, (frames, 2))
    return np.stack([plane[y : y + 128, x : x + 128] for y, x in places])


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
        (_tunnel(), ""),
        (_tunnel(speed=0.24), ""),
        (_plain(), ""),
        (_plain(speed=0.14), ""),
    ],
    ids=[
        "frozen",
        "zoom in",
        "zoom out",
        "pan",
        "dolly in",
        "dolly out",
        "follow",
        "corridor",
        "fast",
        "plain",
        "fast plain",
    ],
)
def test_verdicts(clip: np.ndarray, reason: str) -> None:
    assert motion_reason(motion_scores(clip), BOUNDS) == reason


def test_an_unsteady_hand_is_jitter_and_a_fast_steady_pan_is_not() -> None:
    pairs = choose_pairs(12, 30.0)
    assert motion_reason(motion_scores(_shaken(), pairs), BOUNDS) == "jitter"
    assert motion_scores(_camera(12, shift=4.0), pairs).jitter < 0.05


def test_a_small_moving_thing_makes_a_fixed_camera_alive() -> None:
    clip = _camera()
    for t in range(6):
        clip[t, 60:76, 20 + 6 * t : 36 + 6 * t] = (255, 0, 0)
    scores = motion_scores(clip)
    assert scores.camera_pan < 0.01 and motion_reason(scores, BOUNDS) == ""


def test_one_frame_is_static_and_none_is_an_error() -> None:
    assert motion_reason(motion_scores(_camera(1)), BOUNDS) == "static"
    with pytest.raises(ValueError, match="at least one frame"):
        motion_scores(np.zeros((0, 8, 8, 3), np.uint8))


def test_a_zoom_is_a_reason_only_where_a_bound_is_set() -> None:
    scores = motion_scores(_camera(zoom=1.08))
    assert motion_reason(scores, BOUNDS) == ""
    assert motion_reason(scores, MotionFilter(max_zoom=0.2)) == "zoom"


@pytest.mark.parametrize(
    ("clip", "kind"),
    [
        (_camera(), "fixed"),
        (_camera(zoom=1.05), "zoom"),
        (_camera(shift=2.0), "pan"),
        (_camera(turn=0.03), "rotation"),
        (_plain(), "forward"),
        (_plain()[::-1], "backward"),
    ],
    ids=["fixed", "zoom", "pan", "rotation", "forward", "backward"],
)
def test_what_the_camera_does(clip: np.ndarray, kind: str) -> None:
    assert camera_kind(motion_scores(clip)) == kind


def test_pairs_are_neighbours_spread_over_long_clips_and_end_to_end_in_short_ones() -> None:
    long = choose_pairs(300, 60.0, sample_fps=30.0, most=5)
    starts = [long.numbers[first] for first, _ in long.pairs]
    assert {long.numbers[second] - long.numbers[first] for first, second in long.pairs} == {2}
    assert starts[0] == 0 and long.numbers[-1] == 299 and len(starts) == 5
    assert long.rate == 30.0 and long.whole == pytest.approx(299 / 10)
    short = choose_pairs(8, 8.0)
    assert short.numbers == list(range(8)) and short.pairs == [(i, i + 1) for i in range(7)] and short.whole == 1.0
    assert choose_pairs(1, 8.0).pairs == []


def test_totals_are_of_the_whole_clip_however_few_pairs_are_looked_at() -> None:
    clip = _camera(41, shift=1.0)
    few = choose_pairs(41, 30.0, most=8)
    sparse = motion_scores([clip[i] for i in few.numbers], few)
    assert sparse.camera_pan == pytest.approx(motion_scores(clip).camera_pan, rel=0.1)


@pytest.mark.parametrize(("name", "kind"), [("motorcycle.mp4", "forward"), ("kedro.mkv", "fixed")])
def test_real_clips(project: Path, name: str, kind: str) -> None:
    path = project.parent / "shared/clips" / name
    if not path.is_file():
        pytest.skip("the real clips are not part of the repository")
    scores = _measured(path)
    assert camera_kind(scores) == kind
    assert motion_reason(scores, BOUNDS) == "" and scores.dolly_zoom == 0.0


def _measured(path: Path) -> MotionScores:
    info = video_io.probe(path)
    scale = 128 / min(info.height, info.width)
    video, fps = video_io.decode(path, cover=(round(info.height * scale), round(info.width * scale)))
    pairs = choose_pairs(len(video), fps)
    return motion_scores([video[i] for i in pairs.numbers], pairs)


def test_against_the_world() -> None:
    """Precision and recall on clips spoilt in motion, among clean ones of every motion."""
    kinds: list[str] = []
    reasons: list[str] = []
    for index in range(160):
        clip = world.make_clip(902, index, spoilt_share=0.4, kinds=world.MOTION_SPOILAGE)
        kinds.append(clip.scene.spoilage or "")
        reasons.append(motion_reason(motion_scores(clip.video), BOUNDS))
    for kind in world.MOTION_SPOILAGE:
        right = sum(k == r == kind for k, r in zip(kinds, reasons, strict=True))
        assert kinds.count(kind) > 20
        assert right / kinds.count(kind) >= 0.85
        assert right / reasons.count(kind) >= 0.85
