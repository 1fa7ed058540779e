"""What holds the repository together: the Makefile, the pins and the packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from hummingbird import telemetry


def constraints(project: Path) -> dict[str, str]:
    pins = [line.split("==") for line in (project / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    names = [name for name, _ in pins]
    assert names == sorted(set(names)), "each package once, so that a merge cannot leave two pins of one"
    return {name: version for name, version in pins}


def requirements(project: Path) -> list[Requirement]:
    """Of the package itself and of its extras."""
    table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    extras = [name for names in table["optional-dependencies"].values() for name in names]
    return [Requirement(text) for text in (*table["dependencies"], *extras)]


def test_every_requirement_but_torch_has_a_pin_within_its_range(project: Path) -> None:
    pins = constraints(project)
    assert not [name for name in pins if name.startswith(("torch", "nvidia", "triton"))]
    for requirement in requirements(project):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name != "torch":
            assert requirement.specifier.contains(pins[name]), f"{requirement} but constraints.txt has {pins[name]}"


def test_the_program_and_all_packages_are_installed() -> None:
    [entry] = importlib.metadata.entry_points(group="console_scripts", name="hummingbird")
    assert entry.value == "hummingbird.cli:app"
    for package in ("hummingbird", "flows", "evaluation"):
        assert importlib.import_module(package).__path__


def test_make_knows_its_targets_and_plans_the_setup_of_a_fresh_clone(project: Path, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((project / name).read_bytes())
    plan = subprocess.run(
        ["make", "--dry-run", "run", "TORCH=torch==2.13.0 --index-url URL"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    steps = [plan.index(step) for step in ("-m venv .venv", "pip install torch", "-c constraints.txt", "dvc repro")]
    assert steps == sorted(steps)
    for target in ("help", "setup", "test", "lint", "services", "services-stop", "drill"):
        subprocess.run(["make", "--dry-run", target], cwd=tmp_path, capture_output=True, check=True)


def test_make_clean_keeps_what_is_not_the_pipelines(project: Path, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((project / "Makefile").read_bytes())
    for name in (".work/stage1/key", ".work/services/postgres", ".work/outbox", "artifacts", "mlartifacts"):
        (tmp_path / name).mkdir(parents=True)
    for _ in range(2):  # a second time there may be less to remove
        subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".work", "Makefile", "mlartifacts"]
    assert sorted(path.name for path in (tmp_path / ".work").iterdir()) == ["outbox", "services"]


def test_make_switches_off_the_same_telemetry_as_the_command_line(project: Path) -> None:
    exported = dict(re.findall(r"^export (\w+) := (\S+)$", (project / "Makefile").read_text(), re.MULTILINE))
    exported.pop("PATH")
    assert exported == telemetry.SWITCHES
