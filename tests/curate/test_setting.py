"""What the command line says, as parameters and a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hummingbird.curate.setting import Request, folder_of, setting_of
from hummingbird.errors import UserError
from hummingbird.params import Params, dump_params, load_params, with_overrides


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(dump_params(Params()))


@pytest.mark.parametrize(
    ("source", "folder"),
    [("crawl/webvid.csv", "webvid"), ("some/clips/", "clips"), ("s3://bucket/a/films", "films"), ("world", "world"),
     ("hf://me/films@main#train", "films-main-train")],
)  # fmt: skip
def test_results_are_called_by_their_source(source: str, folder: str) -> None:
    assert setting_of(Request(source)).layout.root == Path("curated") / folder
    assert folder_of(Request(source)) == Path("curated") / folder


def test_all_rows_of_a_crawl_are_taken_unless_limited() -> None:
    assert setting_of(Request("clips.csv")).params.download.clips is None
    assert setting_of(Request("clips.csv", limit=7)).params.download.clips == 7
    assert setting_of(Request("world")).params.download.clips == Params().download.clips


def test_what_the_parameters_say_of_their_own_source_holds() -> None:
    own = with_overrides(Params(), {"download.source": "crawl", "download.format": "my:Own", "download.clips": 500})
    Path("params.yaml").write_text(dump_params(own))
    assert setting_of(Request()).params.download == own.download
    assert setting_of(Request(limit=7)).params.download.clips == 7
    other = setting_of(Request("elsewhere.csv")).params.download
    assert (other.format, other.clips) == (None, None)


def test_a_source_can_be_set_too() -> None:
    setting = setting_of(Request(overrides=["download.source=crawl.csv"]))
    assert setting.layout.root == Path("curated/crawl")
    assert setting.notes and setting.params.download.clips is None


def test_a_folder_that_holds_something_else_is_left_alone() -> None:
    Path("dvc.yaml").touch()
    (Path("full")).mkdir()
    (Path("full") / "thesis.txt").touch()
    for out, problem in ((".", "is a project"), ("full", "holds something else: thesis.txt")):
        with pytest.raises(UserError, match=problem):
            setting_of(Request("crawl.csv", out=Path(out))).check_folder()
    setting_of(Request("one/clips.csv")).save()
    setting_of(Request("one/../one/clips.csv")).check_folder()
    with pytest.raises(UserError, match="holds what was made of one/"):
        setting_of(Request("two/clips.csv")).check_folder()


def test_the_miniature_decides_nothing_about_real_clips() -> None:
    real = setting_of(Request("clips.csv", overrides=["vqa_filter.min_technical=0.2"]))
    assert real.notes
    assert (real.params.vqa_filter.min_overall, real.params.vqa_filter.min_technical) == (0.0, 0.2)
    named = ["min_aesthetic=0.1", "min_technical=0.1", "min_overall=0.1", "keep_best=0.5"]
    assert len(setting_of(Request("clips.csv", overrides=[f"vqa_filter.{bar}" for bar in named])).notes) == 1
    own = setting_of(Request("world"))
    assert not own.notes
    assert own.params.vqa_filter == Params().vqa_filter


def test_real_models_keep_their_bars(project: Path) -> None:
    setting = setting_of(Request("clips.csv", params=project / "profiles/t2v-0.7b-h200.yaml"))
    assert not setting.notes
    assert setting.params.vqa_filter == load_params(project / "profiles/t2v-0.7b-h200.yaml").vqa_filter


@pytest.mark.parametrize(
    ("text", "problem"),
    [("vqa_filter.min_overal=0.3", "did you mean 'min_overall'"), ("vqa_filter.min_overall=3", "from 0 to 1"),
     ("vqa_filter", "not NAME=VALUE"), ("vqafilter.min_overall=0.3", "vqafilter"), ("seed.x=1", "seed")],
)  # fmt: skip
def test_a_wrong_override_is_explained(text: str, problem: str) -> None:
    with pytest.raises(UserError) as error:
        setting_of(Request("world", overrides=[text]))
    assert problem in error.value.problem


def test_the_parameters_are_saved_with_the_result() -> None:
    setting = setting_of(Request("clips.csv", limit=3, overrides=["motion_filter.max_jitter=", "seed=5"]))
    setting.save()
    saved = load_params(setting.layout.root / "params.yaml")
    assert saved == setting.params
    assert (saved.seed, saved.motion_filter.max_jitter) == (5, None)


def test_the_only_result_needs_no_name() -> None:
    with pytest.raises(UserError, match="no results"):
        folder_of(Request())
    for name in ("one", "two"):
        (Path("curated") / name).mkdir(parents=True)
        (Path("curated") / name / "params.yaml").write_text(yaml.safe_dump({}))
        if name == "one":
            assert folder_of(Request()) == Path("curated/one")
    with pytest.raises(UserError, match="2 results"):
        folder_of(Request())
