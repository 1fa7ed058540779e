"""Which of DVC's settings count."""

from __future__ import annotations

from pathlib import Path

from hummingbird.ops.dvc_project import cache, default_remote, remote_url


def test_settings_of_this_machine_go_over_those_in_git(tmp_path: Path) -> None:
    assert (default_remote(tmp_path), remote_url(tmp_path)) == (None, None)
    assert cache(tmp_path) == tmp_path / ".dvc/cache"
    (tmp_path / ".dvc").mkdir()
    remotes = "['remote \"ours\"']\n    url = s3://team/a%20b\n['remote \"mine\"']\n    url = /store\n"
    (tmp_path / ".dvc/config").write_text(f"[core]\n    remote = ours\n{remotes}")
    assert remote_url(tmp_path) == "s3://team/a%20b", "a percent sign is one"
    (tmp_path / ".dvc/config.local").write_text("[core]\n    remote = mine\n[cache]\n    dir = ../../shared\n")
    assert (default_remote(tmp_path), remote_url(tmp_path)) == ("mine", "/store")
    assert cache(tmp_path).resolve() == tmp_path.parent / "shared"
