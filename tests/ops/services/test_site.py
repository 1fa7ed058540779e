"""Ports stay what they were, passwords stay private."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from hummingbird.errors import UserError
from hummingbird.ops.services import site as site_module
from hummingbird.ops.services.site import HOST, Site, free_port, is_free


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_port_is_the_preferred_one_and_is_kept(site: Site) -> None:
    preferred = free_port()
    assert site.port("s3") is None
    site.choose_port("s3", preferred)
    assert site.port("s3") == preferred
    site.choose_port("s3", free_port())
    assert Site(site.root).port("s3") == preferred


def test_two_services_never_get_the_same_port(site: Site) -> None:
    preferred = free_port()
    for name in ("s3", "mlflow"):
        site.choose_port(name, preferred)
    assert site.port("s3") != site.port("mlflow")


def test_a_port_that_another_program_has_taken_is_given_up(site: Site) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        assert not is_free(taken)
        site.choose_port("s3", taken)
        site.remember("mlflow", port=taken)
        site.choose_port("mlflow", free_port())
        assert taken not in (site.port("s3"), site.port("mlflow"))


def test_a_stopped_service_keeps_its_port_and_nothing_else(site: Site) -> None:
    site.remember("s3", port=12345, pid=1, created=0.0, recipe="x")
    site.forget("s3")
    assert site.state("s3") == {"port": 12345}
    assert site.started("s3") is None


def test_a_secret_is_made_once_and_only_its_owner_can_read_it(site: Site) -> None:
    with pytest.raises(UserError, match="no password for postgres"):
        site.secret("postgres")
    site.make_secret("postgres")
    secret = site.secret("postgres")
    for name in ("s3", "postgres"):
        site.make_secret(name)
    assert len(secret) == 32 and secret == Site(site.root).secret("postgres") != site.secret("s3")
    assert (site.folder / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_two_commands_do_not_start_services_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "LOCK_SECONDS", 0.2)
    caught: list[UserError] = []

    def second() -> None:
        try:
            with site.locked():
                pass
        except UserError as error:
            caught.append(error)

    with site.locked():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another command" in caught[0].problem
