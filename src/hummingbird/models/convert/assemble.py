"""Folders of converted networks, made of public checkpoints: one network in memory at a time, and each made once.

A finished network waits in a work folder, named by what it is made of, until all of them are there. So a killed run
goes on after the last one, and the folder that is there already stays until a whole one takes its place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hummingbird.checkpoints.inventory import Source
from hummingbird.errors import UserError
from hummingbird.files import link_or_copy, replacing_folder
from hummingbird.models.checkpoints import write_manifest
from hummingbird.models.convert.networks import PUBLISHED, Kind, Networks, Vocabulary, find_network
from hummingbird.runlog import RunLog


@dataclass(frozen=True)
class Part:
    """One folder to make, and the checkpoints that it is made of: the network's own first, then its tokenizer's."""

    name: str
    sources: tuple[Source, ...]
    writes: tuple[Callable[[Path, Path], None], ...]  # one for each source

    @property
    def key(self) -> str:
        """Names what the part is made of; hex."""
        made_of = [self.name, *(record.sha256 for source in self.sources for record in source.records)]
        return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Fill ``folder``.

        Raises:
            UserError: a checkpoint is not what its name says; see the ``write_`` functions of
                :mod:`~hummingbird.models.convert.networks`.
        """
        for source, write in zip(self.sources, self.writes, strict=True):
            try:
                write(source.folder, folder)
            except UserError as error:
                raise UserError(
                    f"{self.name} from checkpoint {source.name}: {error.problem}", error.next_step
                ) from error


def plan(
    wanted: Mapping[str, tuple[Kind, str]],
    tokenizers: Mapping[Vocabulary, str],
    sources: Mapping[str, Source],
    networks: Networks = PUBLISHED,
) -> list[Part]:
    """The parts of a folder.

    Args:
        wanted: name of each part -> the kind of network and the checkpoint that it is from.
        tokenizers: the checkpoints that hold them.
        sources: all those checkpoints, by name.
        networks: what the checkpoints hold.

    Raises:
        UserError: a checkpoint holds no network of the kind.
    """
    parts = []
    for name, (kind, checkpoint) in wanted.items():
        network = find_network(checkpoint, kind, networks)
        made_of, writes = [sources[checkpoint]], [network.write]
        if network.vocabulary and network.write_tokenizer:
            made_of.append(sources[tokenizers[network.vocabulary]])
            writes.append(network.write_tokenizer)
        parts.append(Part(name, tuple(made_of), tuple(writes)))
    return parts


def assemble(
    parts: list[Part], target: Path, work: Path, log: RunLog, *, command: str, finish: Callable[[Path], None]
) -> None:
    """Make ``target`` of ``parts``, with their provenance and a manifest; ``work`` is removed at the end.

    Args:
        command: that the provenance names.
        finish: adds what is made of no checkpoint.

    Raises:
        UserError: a checkpoint is not what its name says, or the disk is full. An older ``target`` stays, and the
            finished networks stay in ``work`` for the next run.
    """
    done = {part.name: work / f"{part.name}-{part.key}" for part in parts}
    for part in log.progress(parts, "converting checkpoints", len(parts)):
        if not done[part.name].is_dir():
            with replacing_folder(done[part.name]) as folder:
                part.write(folder)
    with replacing_folder(target) as folder:
        for part in parts:
            _link_all(done[part.name], folder / part.name)
        _write_provenance(folder / "provenance", parts, command)
        finish(folder)
        write_manifest(folder)
    shutil.rmtree(work, ignore_errors=True)


def _link_all(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.iterdir():
        link_or_copy(file, target / file.name)


def _write_provenance(folder: Path, parts: list[Part], command: str) -> None:
    """One file for each part: which files of which checkpoints it was made of, and their licences."""
    folder.mkdir()
    for part in parts:
        made_of = [
            {
                "checkpoint": source.name,
                "licence": source.records[0].licence,
                "files": [{"path": it.path, "sha256": it.sha256, "source": it.source} for it in source.records],
            }
            for source in part.sources
        ]
        (folder / f"{part.name}.json").write_text(json.dumps({"command": command, "made_of": made_of}, indent=1) + "\n")
