"""The images' recipe: linted, pinned, in stages, and not root's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hummingbird import telemetry
from tests.infra.tools import finds_nothing


@pytest.fixture
def recipe(infra: Path) -> str:
    return (infra / "containers/Dockerfile").read_text()


def stages(recipe: str) -> dict[str, str]:
    """Name -> text of each stage."""
    parts = re.split(r"^FROM ", recipe, flags=re.MULTILINE)[1:]
    return {re.match(r"\S+ AS (\w[\w-]*)", part).group(1): part for part in parts}  # type: ignore[union-attr]


def test_hadolint_finds_nothing(infra: Path) -> None:
    assert finds_nothing("hadolint", "--no-color", infra / "containers/Dockerfile")


def test_there_is_an_image_for_each_kind_of_machine_and_none_runs_as_root(recipe: str) -> None:
    for name in ("cpu", "cuda", "rocm"):
        text = stages(recipe)[name]
        assert "USER 10001:10001" in text and f"COPY --from=build-{name} /opt/venv" in text
        assert "pip install" not in text


def test_what_comes_from_outside_has_a_version(recipe: str, project: Path) -> None:
    names = stages(recipe)
    bases = {part.split()[0] for part in names.values()} - names.keys()
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases), bases
    for command in re.findall(r"pip install (.*?)(?: \\| &&|$)", recipe, re.MULTILINE):
        assert "torch==" in command or "-c constraints.txt" in command
    wanted = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"][0]
    [version] = re.findall(r"^ARG TORCH=(\S+)$", recipe, re.MULTILINE)
    assert wanted == "torch>=2.13,<2.14" and version.startswith("2.13.")


def test_no_tool_in_the_images_reports_home(recipe: str) -> None:
    for name, value in telemetry.SWITCHES.items():
        assert f"{name}={value}" in recipe


def test_what_tools_write_beside_the_workspace_goes_to_tmp(recipe: str) -> None:
    """Prefect's server, as an unprivileged user, would else do without its UI, and say so only in its log."""
    for name in ("DVC_SITE_CACHE_DIR", "PREFECT_SERVER_UI_STATIC_DIRECTORY"):
        assert f"{name}=/tmp/" in stages(recipe)["runtime"]


def test_what_is_copied_exists_and_nothing_else_enters_the_build(recipe: str, infra: Path, project: Path) -> None:
    ignore = (infra / "containers/Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", recipe, re.MULTILINE) for word in line.split()}
    assert copied == let_in and ignore[1] == "*"
    assert all((project / name).exists() for name in copied)
