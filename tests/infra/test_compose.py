"""The compose file is valid with its overlays, has no default passwords, and runs nothing as root that need not be."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

SECRETS = ("POSTGRES_PASSWORD", "PREFECT_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY")


@functools.cache
def compose_program() -> list[str]:
    """``docker compose``, or its predecessor ``docker-compose``, which Debian has. Neither needs an engine here."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and not subprocess.run([*words, "version"], capture_output=True).returncode:
            return words
    pytest.skip("neither docker compose nor docker-compose is installed: apt-get install docker-compose")


@pytest.fixture
def settings(infra: Path, tmp_path: Path) -> dict[str, str]:
    """The names of .env.example, each with a value of its own, in tmp_path/.env."""
    example = (infra / ".env.example").read_text()
    names = re.findall(r"^(\w+)=$", example, re.MULTILINE)
    assert len(names) == len(re.findall(r"^\w+=", example, re.MULTILINE)), "the example sets a value"
    values = {name: str(1000 + i) for i, name in enumerate(names)}
    write(tmp_path, values)
    return values


def write(folder: Path, values: dict[str, str]) -> None:
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def config(infra: Path, env: Path, *overlays: str) -> subprocess.CompletedProcess[str]:
    files = [word for name in ("compose.yaml", *overlays) for word in ("-f", str(infra / name))]
    command = [*compose_program(), "--env-file", str(env / ".env"), *files, "config"]
    return subprocess.run(command, capture_output=True, text=True, cwd=env)


@pytest.mark.parametrize("overlays", [[], ["compose.cuda.yaml"], ["compose.rocm.yaml"]])
def test_compose_accepts_the_files(infra: Path, tmp_path: Path, settings: dict[str, str], overlays: list[str]) -> None:
    done = config(infra, tmp_path, *overlays)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services.keys() == {"postgres", "s3", "mlflow", "prefect", "worker"}
    assert services["mlflow"]["environment"]["AWS_SECRET_ACCESS_KEY"] == settings["S3_SECRET_KEY"]


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_that_is_not_set_stops_compose(
    infra: Path, tmp_path: Path, settings: dict[str, str], missing: str
) -> None:
    write(tmp_path, settings | {missing: ""})
    done = config(infra, tmp_path)
    assert done.returncode != 0 and f"set {missing}" in done.stderr


@pytest.fixture
def services(infra: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((infra / "compose.yaml").read_text())["services"]
    return loaded


def test_every_service_is_checked_for_health_and_open_on_the_loopback_only(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert ":" in service["image"] and not service["image"].endswith(":latest"), name


def test_what_others_need_is_waited_for(services: dict[str, Any]) -> None:
    needs = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    assert needs["mlflow"] == {"postgres", "s3"} and needs["prefect"] == {"postgres"}
    assert needs["worker"] == {"mlflow", "prefect"}
    for service in services.values():
        assert all(need == {"condition": "service_healthy"} for need in service.get("depends_on", {}).values())


def test_the_servers_are_set_up_as_the_local_ones_are(services: dict[str, Any], tmp_path: Path) -> None:
    """Whoever finds a new setting for a server by ``make services`` has to decide about the containers too."""
    from hummingbird.ops.services import servers
    from hummingbird.ops.services.site import Site

    servers.settle(Site(tmp_path))
    local = servers.services(Site(tmp_path))
    for name in ("mlflow", "prefect"):
        ours, theirs = set(local[name].recipe().settings), set(services[name]["environment"])
        assert ours - theirs <= {"PREFECT_HOME", "PREFECT_API_URL"}  # the image's home; the server's own address
