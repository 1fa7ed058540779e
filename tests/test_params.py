"""Every mistake in a parameter file is named, with what it may be, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from hummingbird.errors import UserError
from hummingbird.explain import explain_errors
from hummingbird.params import Params, Section, dump_params, load_params


@pytest.fixture
def problem(tmp_path: Path) -> Callable[[str, str], str]:
    """Loads the complete parameter set with ``old`` replaced by ``new`` and returns the problem that is reported."""

    def load(old: str, new: str) -> str:
        path = tmp_path / "params.yaml"
        text = dump_params(Params())
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(UserError) as caught:
            load_params(path)
        assert "params check" in caught.value.next_step or "mend the line" in caught.value.next_step
        return caught.value.problem

    return load


def test_the_committed_files_are_complete_and_valid(project: Path) -> None:
    for path in (project / "params.yaml", *(project / "profiles").glob("*.yaml")):
        load_params(path)


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    params = Params(seed=5)
    path.write_text(dump_params(params))
    assert load_params(path) == params


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(dump_params(Params()).replace("spoilt_share: 0.4", "spoilt_share: 25e-2"))
    assert load_params(path).download.spoilt_share == 0.25


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  clips: ", "  clisp: ", "download.clisp: unknown parameter; did you mean 'clips'?"),
        ("foundation:\n", "fundation:\n", "fundation: unknown parameter; did you mean 'foundation'?"),
        ("    steps: ", "    step: ", "decoder.optim.step: unknown parameter; did you mean 'steps'?"),
        ("  clips: 1024", "  clips: 0", "download.clips = 0: must be a whole number of at least 1"),
        ("spoilt_share: 0.4", "spoilt_share: 1.5", "download.spoilt_share = 1.5: must be a number from 0 to 1"),
        ("budget: 1.0", "budget: -2", "foundation.budget = -2: must be a number greater than 0"),
        ("  clips: 1024", "  clips: many", "download.clips = 'many': must be a whole number of at least 1"),
        ("  clips: 1024", "  clips: true", "download.clips = true: must be a whole number of at least 1"),
        ("seed: 1\n", "seed: '1'\n", "seed = '1': must be a whole number"),
        (
            "mode: fetch",
            "mode: fetsh",
            "mode = 'fetsh': must be one of fetch, train, checkpoints; did you mean 'fetch'?",
        ),
        ("max_frames: null", "max_frames: 0", "encode.max_frames = 0: must be a whole number of at least 1 or empty"),
        ("  mode: fetch\n", "", "missing foundation.mode: 'fetch'"),
        ("seed: 1\n", "", "missing seed: 1"),
        ("    ema_decay: 0.95\n", "", "missing stage2.optim.ema_decay: 0.0"),
        (
            "    batch_size: 32\n",
            "",
            "stage1.distillation.batch_size: missing; it must be a whole number of at least 1",
        ),
        ("seed: 1\n", "seed: 1\nseed: 2\n", 'found duplicate key "seed"'),
        ("seed: 1\n", "seed: [1\n", "is not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_what_it_may_be(
    problem: Callable[[str, str], str], old: str, new: str, expected: str
) -> None:
    assert expected in problem(old, new)


@pytest.mark.parametrize("value", ["3", "[1]", "text"])
def test_a_section_that_is_none_is_refused(problem: Callable[[str, str], str], value: str) -> None:
    assert "other: unknown parameter" in problem("seed: 1\n", f"seed: 1\nother: {value}\n")


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(dump_params(Params()).split("foundation:")[0])
    with pytest.raises(UserError, match=r"missing download \(a whole section\)"):
        load_params(path)


@pytest.mark.parametrize("text", ["- 1\n", "5\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"the file = .* must be a section"):
        load_params(path)


def test_several_mistakes_are_listed_together(problem: Callable[[str, str], str]) -> None:
    found = problem("  clips: 1024\n", "  clips: 0\n  clippings: 3\n")
    assert "download.clips = 0" in found
    assert "download.clippings: unknown parameter" in found


def test_a_missing_file_says_how_to_get_it_back(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no parameter file .*nowhere\.yaml\n  next: .*git checkout"):
        load_params(tmp_path / "nowhere.yaml")


class Leaf(Section):
    width: Annotated[int, Field(ge=8, le=64)] = 8


class Tree(Section):
    """Every way in which a section can hold another one."""

    maybe: Leaf | None = None
    several: list[Leaf] | None = None
    named: dict[str, Leaf] | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    either: Literal["auto"] | Annotated[int, Field(gt=0)] = "auto"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"maybe": {"widht": 8}}', ["maybe.widht: unknown parameter; did you mean 'width'?"]),
        ('{"several": [{}, {"width": 1}]}', ["several.1.width = 1: must be a whole number from 8 to 64"]),
        ('{"named": {"a": {"width": 99}}}', ["named.a.width = 99: must be a whole number from 8 to 64"]),
        ('{"pair": [1.0]}', ["pair.1: missing; it must be a number"]),
        (
            '{"either": "atuo"}',
            ["either = 'atuo': must be auto or a whole number greater than 0; did you mean 'auto'?"],
        ),
    ],
)
def test_errors_are_found_inside_options_lists_and_dicts(text: str, expected: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate_json(text)
    assert explain_errors(caught.value, Tree) == expected
