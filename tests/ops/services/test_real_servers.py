"""The real servers: PostgreSQL behind MLflow and Prefect, an S3 stand-in, a runner; killed, replaced and stopped."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from hummingbird.errors import UserError
from hummingbird.ops.services import control, postgres
from hummingbird.ops.services.site import Site

SKIP = "PostgreSQL is not installed: apt-get install postgresql"


def has_postgres() -> bool:
    try:
        postgres.find_programs(Path("/nowhere"))
    except UserError:
        return False
    return True


def test_a_missing_postgresql_is_an_error_that_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    with pytest.raises(UserError, match="neither on PATH") as caught:
        postgres.find_programs(tmp_path)
    assert "apt-get install postgresql" in caught.value.next_step


def test_the_programs_are_those_of_the_version_that_made_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9.6", "15", "17"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        for name in ("initdb", "postgres"):
            (folder / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    assert postgres.find_programs(cluster).parent.name == "17"
    (cluster / "PG_VERSION").write_text("15\n")
    assert postgres.find_programs(cluster).parent.name == "15"


def test_a_cluster_lies_where_its_user_can_go(tmp_path: Path) -> None:
    site = Site(tmp_path / "closed")
    site.root.mkdir(mode=0o700)
    assert postgres.cluster_folder(site, None) == site.folder / "postgres"
    outside = postgres.cluster_folder(site, "nobody")
    assert outside.parent == Path("/var/tmp")
    assert outside != postgres.cluster_folder(Site(tmp_path / "other"), "nobody")


@pytest.fixture(scope="module")
def project_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the deployment's runner reads."""
    source, folder = Path(__file__).parents[3], tmp_path_factory.mktemp("services")
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        shutil.copy(source / name, folder / name)
    shutil.copytree(source / "profiles", folder / "profiles")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").touch()
    return folder


@pytest.fixture(scope="module")
def site(project_copy: Path) -> Iterator[Site]:
    if not has_postgres():
        pytest.skip(SKIP)
    site = Site(project_copy)
    try:
        control.start_services(site, say=lambda line: None)
        yield site
    finally:
        control.stop_services(site, say=lambda line: None)
        cluster = postgres.cluster_folder(site, postgres.server_user())
        shutil.rmtree(cluster, ignore_errors=True)


def environment(site: Site) -> dict[str, str]:
    words = [shlex.split(line)[1] for line in control.exports(site).splitlines()]
    return dict(word.split("=", 1) for word in words)


def eventually(works: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not works():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


@pytest.mark.slow
def test_servers_keep_what_they_were_given_through_the_death_of_their_stores(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    assert {one.name: one.state for one in control.report(site)} == dict.fromkeys(control.NAMES, "working")
    for name, value in environment(site).items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    run = client.create_run(client.create_experiment("services"))
    (tmp_path / "note.txt").write_text("kept")
    client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"))

    for name in ("postgres", "s3"):
        started = site.started(name)
        assert started is not None
        os.kill(started.pid, signal.SIGKILL)
    control.start_services(site, ["postgres", "s3"], lambda line: None)
    assert eventually(lambda: {one.state for one in control.report(site)} == {"working"})
    assert Path(client.download_artifacts(run.info.run_id, "note.txt", str(tmp_path))).read_text() == "kept"


@pytest.mark.slow
def test_both_servers_keep_their_records_in_postgresql_and_the_runner_has_registered(site: Site) -> None:
    connection = postgres.connect(site.port("postgres") or 0, site.secret("postgres"))
    cursor = connection.cursor()
    cursor.execute("select datname, count(*) from pg_stat_activity where datname is not null group by 1")
    assert {"mlflow", "prefect"} <= {name for name, _ in cursor.fetchall()}
    cursor.execute("show jit")
    assert cursor.fetchone() == ("off",)
    connection.close()
    api = environment(site)["PREFECT_API_URL"]
    deployments = httpx.post(f"{api}/deployments/filter", json={}).json()
    assert "pipeline" in {one["name"] for one in deployments}


@pytest.mark.slow
def test_a_wrong_password_is_refused(site: Site) -> None:
    assert not postgres.answers(site.port("postgres") or 0, "wrong")
    assert postgres.answers(site.port("postgres") or 0, site.secret("postgres"))
