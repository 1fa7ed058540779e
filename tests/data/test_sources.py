from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from hummingbird.data.captions import states_facts
from hummingbird.data.sources import TRUTH_SCHEMA, FolderSource, WorldSource, open_source
from hummingbird.data.video_io import decode, encode_mp4
from hummingbird.data.world import make_clip
from hummingbird.errors import UserError
from hummingbird.params import Download

HEADER = "videoid,contentUrl,duration,page_dir,name\n"


def mp4(frames: int = 8) -> bytes:
    return encode_mp4(np.zeros((frames, 16, 16, 3), np.uint8), 8)


def folder(tmp_path: Path, rows: str, header: str = HEADER) -> FolderSource:
    (tmp_path / "clips.csv").write_text(header + rows)
    return FolderSource(tmp_path, tmp_path / "clips.csv", limit=100)


def test_world_clips_come_with_the_truth() -> None:
    params = Download(clips=40, spoilt_share=0.5, sloppy_share=0.5)
    source = WorldSource(params)
    clips = [source.clip(index) for index in range(len(source))]
    assert source.clip(7) == clips[7]
    assert len({clip.clip_id for clip in clips}) == 40
    for index, clip in enumerate(clips):
        made = make_clip(params.world_seed, index, spoilt_share=0.5)
        assert clip.truth is not None
        assert clip.truth.keys() == TRUTH_SCHEMA.keys()
        assert clip.truth["spoilage"] == made.scene.spoilage
        assert clip.truth["clean_caption"] == made.caption
        assert clip.truth["sloppy"] != states_facts(clip.caption, made.scene)
        assert np.abs(decode(clip.video)[0].astype(int) - made.video).mean() < 5
    assert 0 < sum(bool(clip.truth and clip.truth["sloppy"]) for clip in clips) < 40


def test_dirt_in_captions_does_not_change_the_clips() -> None:
    clean, dirty = (WorldSource(Download(clips=3, sloppy_share=share)).clip(2) for share in (0.0, 1.0))
    assert clean.video == dirty.video
    assert clean.caption != dirty.caption


def test_sources_travel_to_worker_processes(tmp_path: Path) -> None:
    for source in (WorldSource(Download(clips=2)), folder(tmp_path, "1,http://x/none.mp4,,p,text\n")):
        assert pickle.loads(pickle.dumps(source)).clip(0) == source.clip(0)


def test_files_are_found_by_url_and_by_page(tmp_path: Path) -> None:
    for name in ("a clip.mp4", "p1/2.mp4", "videos/p2/3.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(mp4())
    rows = "1,http://host/some/a%20clip.mp4?q=1,PT1S,p0,one\n2,http://host/x.mp4,,p1,two\n3,,,p2,three\n"
    source = folder(tmp_path, rows)
    clips = [source.clip(index) for index in range(3)]
    assert [clip.problem for clip in clips] == ["", "", ""]
    assert [clip.caption for clip in clips] == ["one", "two", "three"]
    assert [clip.path for clip in clips] == [tmp_path / name for name in ("a clip.mp4", "p1/2.mp4", "videos/p2/3.mp4")]


def test_what_cannot_be_used_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(mp4())
    source = folder(tmp_path, "1,u/none.mp4,,p,a\n2,u/good.mp4,,p,\n3,u/good.mp4,,p,e\n")
    assert [source.clip(index).problem for index in range(3)] == ["missing: no such file", "no_caption", ""]


def test_a_csv_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.mp4").write_bytes(mp4())
    assert folder(inside, "secret,,,..,text\n").clip(0).problem == "missing: no such file"


def test_repeated_video_ids_stay_apart(tmp_path: Path) -> None:
    source = folder(tmp_path, "7,u/a.mp4,,p,a\n7,u/b.mp4,,p,b\n,u/c.mp4,,p,c\n")
    assert [source.clip(index).clip_id for index in range(3)] == ["7", "7-2", "row2"]


def test_bad_folders_and_csvs_are_explained(tmp_path: Path) -> None:
    def error(**params: str) -> str:
        with pytest.raises(UserError) as caught:
            open_source(Download.model_validate(params))
        return str(caught.value)

    assert "no folder" in error(source=str(tmp_path / "none"))
    assert "no file" in error(source=str(tmp_path))
    csv = tmp_path / "clips.csv"
    csv.write_text("videoid,url\n1,2\n")
    assert "lacks columns: contentUrl, page_dir, name" in error(source=str(tmp_path))
    csv.write_text(HEADER)
    assert "has no rows" in error(source=str(tmp_path))
    csv.write_text("")
    assert "is not a CSV file" in error(source=str(tmp_path))


def test_the_digest_follows_the_files_of_its_own_range(tmp_path: Path) -> None:
    source = folder(tmp_path, "1,u/a.mp4,,p,a\n2,u/b.mp4,,p,b\n")
    before = [source.digest(0, 1), source.digest(1, 2)]
    assert before == [source.digest(0, 1), source.digest(1, 2)]
    (tmp_path / "b.mp4").write_bytes(mp4())
    assert source.digest(0, 1) == before[0]
    assert source.digest(1, 2) != before[1]
