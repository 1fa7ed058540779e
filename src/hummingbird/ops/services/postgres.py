"""A PostgreSQL cluster of the project's own: its programs, its folder, its user, its databases."""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

from hummingbird.errors import UserError
from hummingbird.ops.services.processes import group_of
from hummingbird.ops.services.site import HOST, Site, write_private

ROLE = "hummingbird"
DATABASES = ("mlflow", "prefect")
DEBIAN = Path("/usr/lib/postgresql")  # Debian keeps the servers' programs off the PATH
INITDB_SECONDS = 300.0
#: It would compile Prefect's query for the graph of a run for longer than the query takes: 13 s, and 0.7 s without, on
#: a machine that trains meanwhile; Prefect gives up after 10.
NO_JIT = ("-c", "jit=off")


def find_programs(cluster: Path) -> Path:
    """The folder of ``initdb`` and ``postgres``; of the version that made ``cluster``, where there are several.

    Raises:
        UserError: PostgreSQL is not installed.
    """
    made_by = cluster / "PG_VERSION"
    version = made_by.read_text().strip() if made_by.is_file() else None
    packaged = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True)
    packaged.sort(key=lambda path: path.parts[-3] != version)
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve()] if on_path else []
    candidates = packaged + candidates if version else candidates + packaged
    for initdb in candidates:
        if (initdb.parent / "postgres").exists():
            return initdb.parent
    raise UserError(
        "PostgreSQL's programs initdb and postgres are neither on PATH nor in /usr/lib/postgresql",
        "install them: apt-get install postgresql (Debian, Ubuntu), brew install postgresql (macOS)",
    )


def server_user() -> str | None:
    """Whom the server is to run as: PostgreSQL refuses to be root. None is the present user."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def cluster_folder(site: Site, user: str | None) -> Path:
    """Where the cluster lies: with the other services' files, or in ``/var/tmp`` if ``user`` may not go there."""
    if user is None or _may_pass(site.folder):
        return site.folder / "postgres"
    key = hashlib.sha256(str(site.folder).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"hummingbird-postgres-{key}"


def _may_pass(folder: Path) -> bool:
    """Whether every user may go through ``folder`` and all above it."""
    present = [path for path in (folder, *folder.parents) if path.exists()]
    return all(path.stat().st_mode & stat.S_IXOTH for path in present)


def make_cluster(site: Site, cluster: Path, user: str | None) -> None:
    """Make the cluster, unless it is there. It appears only when it is whole.

    Raises:
        UserError: ``initdb`` failed; its last lines are in the message.
    """
    if (cluster / "PG_VERSION").is_file():
        return
    part = cluster.with_name(f".{cluster.name}.part")
    password = cluster.with_name(f".{cluster.name}.password")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    write_private(password, site.secret("postgres"))
    if user:
        for path in (part, password):
            shutil.chown(path, user, group_of(user))
    command = [str(find_programs(cluster) / "initdb"), "-D", str(part), "-U", ROLE, "--encoding=UTF8", "--no-locale",
               "--auth=scram-sha-256", f"--pwfile={password}"]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            cwd="/",
            user=user,
            group=group_of(user),
            extra_groups=[] if user else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INITDB_SECONDS,
        )
    finally:
        password.unlink(missing_ok=True)
    if done.returncode:
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(
            f"initdb could not make a database cluster in {cluster}:\n{done.stdout.strip()[-1000:]}",
            f"put right what it says; it ran as {user or getpass.getuser()}",
        )
    part.rename(cluster)


def server_command(cluster: Path, port: int) -> tuple[str, ...]:
    """The server on the loopback address, without a socket file (whose path may be too long).

    Raises:
        UserError: PostgreSQL, or the Python driver for it, is not installed.
    """
    driver()
    return (str(find_programs(cluster) / "postgres"), "-D", str(cluster), "-p", str(port),
            "-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories=", *NO_JIT)  # fmt: skip


def url(driver: str, port: int, password: str, database: str) -> str:
    return f"postgresql+{driver}://{ROLE}:{password}@{HOST}:{port}/{database}"


def driver() -> Any:
    """The module ``psycopg2``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import psycopg2
    except ImportError as error:
        raise UserError(
            "the Python package psycopg2 is not installed", "pip install -c constraints.txt -e '.[services]'"
        ) from error
    return psycopg2


def connect(port: int, password: str) -> Any:
    """A connection of psycopg2's, in autocommit mode."""
    connection = driver().connect(
        host=HOST, port=port, user=ROLE, password=password, dbname="postgres", connect_timeout=5
    )
    connection.autocommit = True
    return connection


def answers(port: int, password: str) -> bool:
    """Whether the server takes the password and a query."""
    try:
        connection = connect(port, password)
    except driver().OperationalError:
        return False
    try:
        connection.cursor().execute("select 1")
    finally:
        connection.close()
    return True


def make_databases(port: int, password: str) -> None:
    """Make those of :data:`DATABASES` that are missing."""
    connection = connect(port, password)
    try:
        cursor = connection.cursor()
        cursor.execute("select datname from pg_database")
        present = {name for (name,) in cursor.fetchall()}
        for name in DATABASES:
            if name not in present:
                cursor.execute(f"create database {name}")
    finally:
        connection.close()
