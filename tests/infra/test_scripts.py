"""The Slurm script runs, stops in time and is queued again; Ray reads its file; YAML and shell are linted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.infra.tools import finds_nothing

WORK = """#!/usr/bin/env bash
echo "$(basename "$0")" "$@" >> calls
trap 'echo saved >> calls; exit 143' TERM
touch started
[ -z "${FAST:-}" ] || exit "$FAST"
for _ in $(seq 600); do sleep 0.1; done
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A project folder with stand-ins for the programs that the script calls."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("dvc", "hummingbird"):
        (programs / name).write_text(WORK)
    (programs / "scontrol").write_text('#!/usr/bin/env bash\necho "scontrol $*" >> calls\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return tmp_path


def submit(infra: Path, node: Path, *stages: str, **settings: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"SLURM_SUBMIT_DIR": str(node), "SLURM_JOB_ID": "7", **settings}
    return subprocess.Popen(["bash", infra / "slurm/hummingbird.sbatch", *stages], env=environment)


def wait_for_start(node: Path) -> None:
    deadline = time.monotonic() + 120
    while not (node / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def calls(node: Path) -> list[str]:
    return (node / "calls").read_text().splitlines()


def test_out_of_time_the_work_saves_and_the_job_is_queued_again(infra: Path, node: Path) -> None:
    job = submit(infra, node, "stage1")
    wait_for_start(node)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(120) == 0
    assert calls(node) == ["dvc repro stage1", "saved", "scontrol requeue 7"]


def test_a_cancelled_job_saves_and_is_not_queued_again(infra: Path, node: Path) -> None:
    job = submit(infra, node)
    wait_for_start(node)
    job.terminate()
    assert job.wait(120) == 143
    assert calls(node) == ["dvc repro", "saved"]


@pytest.mark.parametrize("code", [0, 3])
def test_the_job_ends_as_the_work_does(infra: Path, node: Path, code: int) -> None:
    assert submit(infra, node, FAST=str(code), PREFECT_API_URL="http://prefect:4200/api").wait(120) == code
    assert calls(node) == ["hummingbird flow run"]


def test_shellcheck_finds_nothing(infra: Path, project: Path) -> None:
    scripts = [infra / "slurm/hummingbird.sbatch", project / ".ci/run"]
    assert finds_nothing("shellcheck", "--enable=all", "--exclude=SC2250,SC2310,SC2312", *scripts)


def test_yamllint_finds_nothing(infra: Path, project: Path) -> None:
    assert finds_nothing("yamllint", "--strict", "-c", infra / ".yamllint", infra)


def test_ray_accepts_the_cluster_file(infra: Path) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="pip install -c constraints.txt -e '.[ray]'")
    config = yaml.safe_load((infra / "ray/cluster.yaml").read_text())
    prepared = util.prepare_config(config)
    util.validate_config(prepared)
    assert prepared["available_node_types"]["local.cluster.node"]["max_workers"] == len(
        config["provider"]["worker_ips"]
    )
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("RAY_USAGE_STATS_ENABLED=0" in command for command in commands if "ray start" in command)
