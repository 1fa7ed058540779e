"""Folders made of checkpoints: each part once, all of them or none. The parts are text here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hummingbird.checkpoints.imports import Record
from hummingbird.checkpoints.inventory import Source
from hummingbird.errors import UserError
from hummingbird.models.checkpoints import verify_folder
from hummingbird.models.convert.assemble import Part, assemble, plan
from hummingbird.models.convert.networks import PUBLISHED, Network
from hummingbird.runlog import SilentLog


def source(name: str, folder: Path, sha: str = "0" * 64) -> Source:
    record = Record(name, f"{name}.pt", sha, "", 1, f"https://host/{name}.pt", None, "MIT", 1)
    return Source(name, folder, (record,))


def writes(text: str, made: list[str]) -> Network:
    def write(folder: Path, target: Path) -> None:
        made.append(text)
        (target / "weights").write_text(text)

    def refuse(folder: Path, target: Path) -> None:
        raise UserError("it is broken", "mend it")

    return Network(refuse if text == "broken" else write)


def make(parts: list[Part], folder: Path) -> None:
    assemble(parts, folder / "target", folder / "work", SilentLog(), command="test", finish=lambda _: None)


def test_a_part_is_made_again_if_what_it_is_made_of_has_changed(tmp_path: Path) -> None:
    made: list[str] = []
    good, bad = writes("good", made), writes("broken", made)

    def parts(sha: str) -> list[Part]:
        first, second = source("a", tmp_path, sha), source("b", tmp_path)
        return [Part("unet", (first,), (good.write,)), Part("vae", (second,), (bad.write,))]

    for sha in ("1" * 64, "1" * 64, "2" * 64):
        with pytest.raises(UserError, match="vae from checkpoint b: it is broken") as caught:
            make(parts(sha), tmp_path)
        assert caught.value.next_step == "mend it" and not (tmp_path / "target").exists()
    assert made == ["good", "good"]
    make(parts("2" * 64)[:1], tmp_path)
    assert made == ["good", "good"] and not (tmp_path / "work").exists()
    assert set(verify_folder(tmp_path / "target")) == {"unet/weights", "provenance/unet.json"}
    assert json.loads((tmp_path / "target/provenance/unet.json").read_text())["made_of"] == [
        {
            "checkpoint": "a",
            "licence": "MIT",
            "files": [{"path": "a.pt", "sha256": "2" * 64, "source": "https://host/a.pt"}],
        }
    ]


def test_a_network_that_reads_text_is_made_of_its_tokenizer_too(tmp_path: Path) -> None:
    names = ("internvideo2-1b", "viclip-l", "words", "pieces")
    sources = {name: source(name, tmp_path) for name in names}
    wanted = {"one": ("video_reward", "internvideo2-1b"), "other": ("video_reward", "viclip-l")}
    parts = plan(wanted, {"clip": "words", "bert": "pieces"}, sources)  # type: ignore[arg-type]
    made_of = {part.name: [it.name for it in part.sources] for part in parts}
    assert made_of == {"one": ["internvideo2-1b", "pieces"], "other": ["viclip-l", "words"]}


def test_every_checkpoint_of_the_table_is_converted_but_a_tokenizer_and_what_diffusers_reads_as_it_is() -> None:
    from hummingbird.checkpoints.catalogue import catalogue

    assert set(catalogue()) - set(PUBLISHED) == {"bert-uncased", "taesd"}
    assert set(PUBLISHED) <= set(catalogue())
