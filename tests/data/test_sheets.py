from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hummingbird.data.sheets import contact_sheet, save_sheet


def flat(color: tuple[int, int, int], frames: int = 8, size: int = 32) -> np.ndarray:
    return np.full((frames, size, size, 3), color, np.uint8)


def test_clips_lie_in_rows_with_their_verdict_as_border() -> None:
    clips = [flat((0, 0, 255)), flat((255, 255, 0)), flat((9, 9, 9))]
    sheet = contact_sheet(clips, ["a", "b", "c"], 2, [True, False, True])
    height, width = (size // 2 for size in sheet.shape[:2])
    assert (sheet[20, 20] == (0, 0, 255)).all()
    assert (sheet[20, width + 20] == (255, 255, 0)).all()
    assert (sheet[height + 20, 20] == (9, 9, 9)).all()
    kept, dropped = sheet[20, 7].astype(int), sheet[20, width + 7].astype(int)
    assert kept.argmax() == 1  # green
    assert dropped.argmax() == 0  # red


def test_tiny_clips_are_enlarged_without_blur_and_large_ones_shrunk() -> None:
    checks = flat((0, 0, 0), 4)
    checks[:, ::2, ::2] = 255
    sheet = contact_sheet([checks], ["checks"])
    strip = sheet[9 : 9 + 96, 9 : 9 + 4 * 96]
    assert set(np.unique(strip)) == {0, 255}
    assert contact_sheet([flat((5, 5, 5), 2, 400)], ["x"]).shape[0] < 150


def test_labels_are_drawn_and_long_ones_cut() -> None:
    blank, labelled, endless = (contact_sheet([flat((0, 0, 0))], [text]) for text in ("", "WORD " * 20, "WORD " * 2000))
    assert blank.shape[0] <= labelled.shape[0] <= endless.shape[0] <= blank.shape[0] + 13
    assert (labelled[-26:] < 128).sum() > 200 + (blank[-26:] < 128).sum()


def test_lines_of_a_label_stay_lines() -> None:
    one, two = (contact_sheet([flat((0, 0, 0))], [text]) for text in ("abc abc", "abc\nabc"))
    assert one.shape == two.shape
    assert (one[-19:] > 200).all() and (two[-19:] < 128).any()  # the second line


def test_sheets_are_no_wider_than_a_page() -> None:
    shapes = ((360, 640), (640, 360), (32, 32), (60, 3000), (2160, 3840), (4, 4))
    for height, width in shapes:
        clips = [np.full((4, height, width, 3), 9, np.uint8)] * 7
        assert 300 < contact_sheet(clips, ["x"] * 7).shape[1] <= 1218, (height, width)


def test_a_clip_without_a_video_has_a_tile_and_its_label() -> None:
    sheet = contact_sheet([None, flat((0, 0, 255))], ["gone", "here"], 2, [False, True])
    assert (sheet[12, 12] == (228, 228, 228)).all()
    assert sheet[12, 7].astype(int).argmax() == 0  # red
    label = sheet[45:80, : sheet.shape[1] // 2]
    assert (label < 128).any()
    assert contact_sheet([None], ["gone"]).shape[0] < 90


@pytest.mark.parametrize("label", ["猫が走る", "قطة تركض\u202e", "a\x00b\tc", "x" * 10_000, "🎬" * 300, "\n\n\n", " "])
def test_any_caption_can_be_a_label(label: str) -> None:
    assert 100 < contact_sheet([flat((0, 0, 0))], [label]).shape[0] < 160


def test_every_clip_needs_a_label() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        contact_sheet([flat((0, 0, 0))] * 2, ["one"])


def test_a_sheet_is_saved_as_png(tmp_path: Path) -> None:
    picture = contact_sheet([flat((1, 2, 3))], ["x"])
    save_sheet(picture, tmp_path / "sheets/a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheets/a.png")), picture)
