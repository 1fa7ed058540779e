"""Starting, replacing and stopping, on toy servers in place of the real ones."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.errors import UserError
from hummingbird.ops.services import control, servers
from hummingbird.ops.services.servers import Recipe, Service
from hummingbird.ops.services.site import HOST, Site

SERVER = """
import pathlib, sys, time
name, needs, flag = sys.argv[1:]
assert all(pathlib.Path(need).exists() for need in needs.split()), f"{name} came before {needs}"
pathlib.Path(name).write_text(flag)
print(name, "is up", flush=True)
time.sleep(600)
"""


class Toys:
    """Stand-ins for the services: each writes a file that bears its name, and fails if those it needs have not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flag = "first"

    def __call__(self, site: Site) -> dict[str, Service]:
        needs = {"postgres": (), "s3": (), "mlflow": ("postgres", "s3"), "prefect": ("postgres",),
                 "worker": ("mlflow", "prefect")}  # fmt: skip
        return {name: self.service(name, needed) for name, needed in needs.items()}

    def service(self, name: str, needs: tuple[str, ...]) -> Service:
        command = (sys.executable, "-c", SERVER, name, " ".join(needs), self.flag)
        return Service(name, "nowhere", lambda: Recipe(command), (self.folder / name).exists, needs)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path)
    monkeypatch.setattr(control, "services", Toys(tmp_path))
    yield site
    control.stop_services(site, say=lambda line: None)


def pids(site: Site) -> dict[str, int]:
    return {one.name: one.pid for one in control.report(site) if one.pid is not None}


def start(site: Site, *names: str) -> list[str]:
    said: list[str] = []
    control.start_services(site, names, said.append)
    return said


def test_all_start_in_order_and_a_second_start_changes_nothing(site: Site) -> None:
    start(site)
    assert {one.state for one in control.report(site)} == {"working"}
    before = pids(site)
    assert all("works already" in line for line in start(site))
    assert pids(site) == before


def test_a_named_service_brings_what_it_needs(site: Site) -> None:
    start(site, "prefect")
    assert pids(site).keys() == {"postgres", "prefect"}


def test_what_died_is_replaced_and_the_rest_left_alone(site: Site) -> None:
    start(site)
    before = pids(site)
    os.kill(before["mlflow"], signal.SIGKILL)
    wait_until_dead(site, "mlflow")
    assert {one.name: one.state for one in control.report(site)}["mlflow"] == "died"
    start(site)
    after = pids(site)
    assert [name for name in after if after[name] != before[name]] == ["mlflow"]


def wait_until_dead(site: Site, name: str) -> None:
    deadline = time.monotonic() + 30
    while site.is_running(name):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_runs_by_an_older_recipe_is_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    start(site, "s3")
    before = pids(site)
    toys = Toys(site.root)
    toys.flag = "second"
    monkeypatch.setattr(control, "services", toys)
    start(site, "s3")
    assert pids(site) != before
    assert (site.root / "s3").exists()


def test_stop_ends_what_was_named_and_then_all(site: Site) -> None:
    start(site)
    control.stop_services(site, ["mlflow"], lambda line: None)
    assert {one.name for one in control.report(site) if one.state == "stopped"} == {"mlflow"}
    processes = [site.started(name) for name in ("postgres", "worker")]
    control.stop_services(site, say=lambda line: None)
    assert {one.state for one in control.report(site)} == {"stopped"}
    assert all(started is not None and started.process() is None for started in processes)


def test_a_server_that_ends_while_it_starts_is_an_error_with_its_log(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (sys.executable, "-c", "raise SystemExit('no such planet')")
    service = Service("s3", "nowhere", lambda: Recipe(broken), lambda: False, attempts=2)
    monkeypatch.setattr(control, "services", lambda site: {"s3": service})
    monkeypatch.setattr(control, "RETRY_PAUSE", 0.0)
    with pytest.raises(UserError, match="ended while it started") as caught:
        start(site)
    assert caught.value.problem.count("no such planet") == 2  # both attempts
    assert "hummingbird services start s3" in caught.value.next_step


def test_a_server_that_no_longer_answers_is_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    start(site, "s3")
    before = pids(site)
    (site.root / "s3").unlink()
    monkeypatch.setattr(control, "HUNG_SECONDS", 0.1)
    assert control.report(site)[1].state == "silent"
    start(site, "s3")
    assert pids(site) != before


def test_a_missing_program_is_an_error_before_anything_starts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Recipe:
        raise UserError("no rclone", "install it")

    toys = Toys(site.root)(site)
    toys["s3"] = Service("s3", "nowhere", missing, lambda: False)
    monkeypatch.setattr(control, "services", lambda site: toys)
    with pytest.raises(UserError, match="no rclone"):
        start(site)
    assert not pids(site)


def test_another_projects_server_on_the_port_is_not_taken_for_ours(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = "import time; print('up', flush=True); time.sleep(1)"

    with socket.socket() as others:
        others.bind(("127.0.0.1", 0))
        others.listen()
        address = f"127.0.0.1:{others.getsockname()[1]}"
        recipe = Recipe((sys.executable, "-c", sleeper))
        monkeypatch.setattr(
            control, "services", lambda site: {"mlflow": Service("mlflow", address, lambda: recipe, lambda: True)}
        )
        with pytest.raises(UserError, match="mlflow ended while it started"):
            start(site, "mlflow")


def test_without_rclone_moto_stands_in_for_s3_and_without_both_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {"rclone": "/bin/rclone", "moto_server": "/bin/moto_server"}
    monkeypatch.setattr(servers, "find_program", present.get)
    servers.settle(Site(tmp_path))
    s3 = servers.services(Site(tmp_path))["s3"]
    assert s3.recipe().command[0] == "/bin/rclone"
    assert not [word for word in s3.recipe().command if Site(tmp_path).secret("s3") in word]  # others can see it
    del present["rclone"]
    assert s3.recipe().command[0] == "/bin/moto_server"
    del present["moto_server"]
    with pytest.raises(UserError, match="stands in for S3"):
        s3.recipe()


def test_settings_of_the_users_for_other_servers_do_not_reach_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("PREFECT_API_URL", "https://elsewhere/api")
    servers.settle(Site(tmp_path))
    for service in servers.services(Site(tmp_path)).values():
        environment = Recipe((), service.recipe().settings if service.name != "postgres" else {}).environment
        assert "AWS_PROFILE" not in environment
        assert environment.get("PREFECT_API_URL", "http://127.0.0.1").startswith("http://127.0.0.1")
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_looking_changes_nothing_whatever_became_of_the_ports(tmp_path: Path) -> None:
    site = Site(tmp_path)
    me = psutil.Process()
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        site.make_secret("s3")
        site.remember("s3", port=taken)
        site.remember("worker", pid=me.pid, created=me.create_time())
        before = {path: path.read_bytes() for path in site.folder.iterdir()}
        reports = {one.name: one for one in control.report(site)}
        assert f"AWS_ENDPOINT_URL_S3=http://127.0.0.1:{taken}" in control.exports(site)
    assert (reports["s3"].state, reports["s3"].address) == ("stopped", f"http://127.0.0.1:{taken}")
    assert {path: path.read_bytes() for path in site.folder.iterdir()} == before


def test_commands_say_what_they_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli = CliRunner()
    status = cli.invoke(app, ["services", "status"])
    assert status.exit_code == 1 and status.output.count("stopped") == 5
    assert "nothing was started here" in cli.invoke(app, ["services", "stop"]).output
    env = cli.invoke(app, ["services", "env"])
    assert env.exit_code == 2 and "hummingbird services start" in env.output and "export" not in env.output
    stray = cli.invoke(app, ["services", "start"])
    assert stray.exit_code == 2 and "no project" in stray.output and not list(tmp_path.iterdir())
    (tmp_path / "dvc.yaml").touch()
    typo = cli.invoke(app, ["services", "start", "postgre"])
    assert typo.exit_code == 2 and "did you mean 'postgres'?" in typo.output
    assert not (tmp_path / ".work").exists()
