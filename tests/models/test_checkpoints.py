"""Fetching checkpoints: verified, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hummingbird.errors import UserError
from hummingbird.models.checkpoints import fetch_folder, verify_folder, write_manifest
from hummingbird.runlog import SilentLog


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "PROVENANCE.md").write_text("how it was made")
    write_manifest(folder)
    return folder


def test_fetched_files_are_those_of_the_manifest(source: Path, tmp_path: Path) -> None:
    sizes = fetch_folder(source, tmp_path / "target", SilentLog())
    assert sizes == {"config.json": 2, "unet/model.safetensors": 7}
    assert verify_folder(tmp_path / "target") == sizes


@pytest.mark.parametrize("content", [b"weight", b"weightz"], ids=["truncated", "altered"])
def test_a_damaged_file_is_refused_and_the_earlier_state_stays(source: Path, tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "target"
    fetch_folder(source, target, SilentLog())
    (source / "unet/model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="not the file its manifest names"):
        fetch_folder(source, target, SilentLog())
    assert (target / "unet/model.safetensors").read_bytes() == b"weights"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "target"]


def test_what_is_missing_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint folder"):
        fetch_folder(tmp_path / "nowhere", tmp_path / "target", SilentLog())
    (source / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        fetch_folder(source, tmp_path / "target", SilentLog())
    (source / "manifest.json").unlink()
    with pytest.raises(UserError, match="miniature train"):
        verify_folder(source)


def test_the_manifest_names_every_model_file_and_no_document(source: Path) -> None:
    assert set(json.loads((source / "manifest.json").read_text())) == {"config.json", "unet/model.safetensors"}
