from __future__ import annotations

from pathlib import Path
from typing import Any

HEADER = "video,caption,aesthetic score,motion score,temporal consistency score,camera motion,frame,fps,seconds\n"
REST = ",5.1,2.0,0.99,pan_left,120,30.0,4.0\n"


def test_files_lie_in_the_folder_or_in_one_of_its_parts(tmp_path: Path, opened: Any) -> None:
    for name in ("a.mp4", "OpenVid_part1/b_3_0to106.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"video")
    rows = "".join(
        f'{video},"A caption, of {video}"{REST}' for video in ("a.mp4", "b_3_0to106.mp4", "c.mp4", "../x.mp4")
    )
    items = list(opened(HEADER + rows).items(0, 4))
    assert [item.clip_id for item in items] == ["a", "b_3_0to106", "c", "x"]
    assert items[1].uri == str(tmp_path / "OpenVid_part1/b_3_0to106.mp4")
    assert items[0].caption == "A caption, of a.mp4"
    assert [item.problem for item in items] == ["", "", *["missing: no such file"] * 2]


def test_addresses_are_taken_as_they_are(tmp_path: Path, opened: Any) -> None:
    source = opened(f"{HEADER}https://host/v/a.mp4,text{REST}", source=tmp_path / "clips.csv")
    [item] = source.items(0, 1)
    assert (item.clip_id, item.uri) == ("a", "https://host/v/a.mp4")
