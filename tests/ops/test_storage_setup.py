"""`hummingbird storage init`, against moto's server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mlflow.version import VERSION
from typer.testing import CliRunner

from hummingbird import storage
from hummingbird.cli import app

runner = CliRunner()


@pytest.fixture
def folder(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A new DVC project as the current folder, with credentials for moto in the environment."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_S3_ENDPOINT_URL", "MLFLOW_S3_UPLOAD_EXTRA_ARGS", storage.SSE):
        monkeypatch.setenv(name, "")  # so that what the command sets is undone
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL_S3": moto,
        "AWS_ACCESS_KEY_ID": "test-access-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(tmp_path / "global"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    monkeypatch.chdir(project)
    return project


def dvc(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, check=True, env=dict(os.environ))


def test_dvc_and_mlflow_go_to_one_bucket_and_no_secret_is_written(
    folder: Path, moto: str, empty_database: Path
) -> None:
    shutil.copy(empty_database, folder / "mlflow.db")
    first = runner.invoke(app, ["storage", "init", "s3://team/hb", "--endpoint", moto, "--sse", "AES256", "--create"])
    assert first.exit_code == 0, first.output
    settings = (folder / ".dvc/config").read_text()
    assert "url = s3://team/hb/dvc" in settings and f"endpointurl = {moto}" in settings and "sse = AES256" in settings
    assert "test-secret-key" not in settings + first.output
    assert f"export AWS_ENDPOINT_URL_S3={moto}" in first.output
    assert 'export MLFLOW_S3_UPLOAD_EXTRA_ARGS=\'{"ServerSideEncryption": "AES256"}\'' in first.output
    again = runner.invoke(app, ["storage", "init", "s3://team/hb", "--endpoint", moto, "--sse", "AES256", "--create"])
    assert again.exit_code == 0, again.output
    assert (folder / ".dvc/config").read_text() == settings
    listed = storage.client().list_objects_v2(Bucket="team")
    assert not listed.get("Contents"), "the probe is left behind"

    (folder / "data.bin").write_bytes(b"data")
    dvc(folder, "add", "-q", "data.bin")
    dvc(folder, "push", "-q")
    _log_an_artifact(folder)
    keys = [entry["Key"] for entry in storage.client().list_objects_v2(Bucket="team")["Contents"]]
    assert any(key.startswith("hb/dvc/") for key in keys)
    assert any(key.startswith("hb/mlflow/") and key.endswith("artifacts/data.bin") for key in keys)


def _log_an_artifact(folder: Path) -> None:
    from hummingbird.ops import server

    client, experiment = server.connect(folder)
    run = client.create_run(experiment)
    client.log_artifact(run.info.run_id, str(folder / "data.bin"))


def test_an_experiment_that_exists_keeps_its_place_and_the_user_is_told(
    folder: Path, moto: str, empty_database: Path
) -> None:
    from hummingbird.ops import server

    shutil.copy(empty_database, folder / "mlflow.db")
    server.connect(folder)
    result = runner.invoke(app, ["storage", "init", "s3://team2/hb", "--endpoint", moto, "--create"])
    assert result.exit_code == 0, result.output
    assert "keeps its artifacts where they are" in result.stderr
    assert str(folder / "mlartifacts") in result.output


@pytest.mark.parametrize(
    ("url", "environment", "said"),
    [
        ("s3://no-such-bucket/hb", {}, "a bucket that does not exist"),
        ("https://team/hb", {}, "s3://bucket/key"),
        ("s3://team/hb", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials"),
        ("s3://team/hb", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "no S3 server answers"),
        ("s3://team/hb", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, "does not answer"),
        ("s3://team/hb", {"HUMMINGBIRD_S3_SSE": "aes"}, "AES256"),
    ],
)
def test_what_cannot_be_used_is_explained_and_nothing_is_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], said: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the pauses between boto3's attempts
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    before = (folder / ".dvc/config").read_bytes()
    result = runner.invoke(app, ["storage", "init", url])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert (folder / ".dvc/config").read_bytes() == before
    assert not (folder / "mlflow.db").exists()


class Closed(BaseHTTPRequestHandler):
    """An MLflow server that tells its version to everybody, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/version" else 401)
        self.end_headers()
        self.wfile.write(VERSION.encode() if self.path == "/version" else b"not authenticated")

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_does_not_let_us_in_is_explained_before_anything_is_changed(
    folder: Path, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = (folder / ".dvc/config").read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Closed) as closed:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.server_port}")
        Thread(target=closed.serve_forever, daemon=True).start()
        result = runner.invoke(app, ["storage", "init", "s3://team4/hb", "--endpoint", moto, "--create"])
        closed.shutdown()
    assert result.exit_code == 2, result.output
    assert "does not let us in" in result.stderr and "MLFLOW_TRACKING_USERNAME" in result.stderr
    assert (folder / ".dvc/config").read_bytes() == before


def test_a_folder_without_dvc_is_refused(folder: Path, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = folder.parent / "bare"
    bare.mkdir()
    monkeypatch.chdir(bare)
    result = runner.invoke(app, ["storage", "init", "s3://team3/hb", "--endpoint", moto, "--create"])
    assert result.exit_code == 2
    assert "no DVC project" in result.stderr
