"""Videos in tar shards with WebDataset's layout: ``KEY.mp4`` and ``KEY.json`` side by side, many clips to a file.

The bytes of a shard depend on its samples only: no times, owners or modes of this machine.
"""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.data import video_io
from hummingbird.errors import UserError
from hummingbird.files import replacing

_MAKE_AGAIN = "delete data/raw and run again: dvc repro download"


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip in a shard. ``video``: bytes of the file; ``meta``: what goes into the JSON beside it."""

    key: str
    video: bytes
    meta: dict[str, Any] = field(default_factory=dict)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # time, owner and group are zero by default
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _add_sample(tar: tarfile.TarFile, sample: Sample) -> None:
    _add(tar, f"{sample.key}.mp4", sample.video)
    _add(tar, f"{sample.key}.json", json.dumps(sample.meta, sort_keys=True).encode())


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write a shard, whole or not at all.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    with replacing(path) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            _add_sample(tar, sample)


class ShardWriter:
    """Writes samples to ``NAME.tar`` and, wherever a shard would grow beyond ``max_bytes`` of video, on to
    ``NAME-01.tar``, ``NAME-02.tar``, ...; each is whole or not there. Without samples there is no file."""

    def __init__(self, folder: Path, name: str, max_bytes: int) -> None:
        self._folder, self._name, self._max_bytes = folder, name, max_bytes
        self._open = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._bytes = 0
        self.shards: list[str] = []

    def add(self, sample: Sample) -> str:
        """Write a sample; the file name of the shard that it went to.

        Raises:
            UserError: the folder cannot be written to, or the disk is full.
        """
        size = len(sample.video)
        if self._tar is None or self._bytes + size > self._max_bytes:
            self._tar = self._begin()
        _add_sample(self._tar, sample)
        self._bytes += size
        return self.shards[-1]

    def _begin(self) -> tarfile.TarFile:
        self._open.close()  # finishes the shard before
        number = len(self.shards)
        self.shards.append(f"{self._name}-{number:02d}.tar" if number else f"{self._name}.tar")
        self._bytes = 0
        part = self._open.enter_context(replacing(self._folder / self.shards[-1]))
        return self._open.enter_context(tarfile.open(part, "w", format=tarfile.USTAR_FORMAT))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._open.__exit__(*error)


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    data = stream.read() if stream else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name} ends early")
    return data


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, dict[str, tarfile.TarInfo]]]:
    """The open shard and its members by name.

    Raises:
        UserError: the shard is missing, truncated or not a tar file; also for such errors within the block.
    """
    if not path.is_file():
        raise UserError(f"no shard {path}", _MAKE_AGAIN)
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar, {member.name: member for member in tar}
    except (tarfile.TarError, json.JSONDecodeError, EOFError) as error:
        raise UserError(f"shard {path} is truncated or damaged: {error}", _MAKE_AGAIN) from error


def read_shard(path: Path) -> Iterator[Sample]:
    """Every sample of a shard, in its order.

    Raises:
        UserError: the shard is missing, truncated or damaged.
    """
    with _opened(path) as (tar, members):
        for name, member in members.items():
            if not name.endswith(".mp4"):
                continue
            key = name.removesuffix(".mp4")
            if f"{key}.json" not in members:
                raise tarfile.ReadError(f"{key}.json is missing")
            yield Sample(key, _read(tar, member), json.loads(_read(tar, members[f"{key}.json"])))


def iter_clips(folder: Path, table: pl.DataFrame, *, kept_only: bool = True) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Rows of a clip table, in its order, each with the bytes of its video; ``folder`` holds the shards.

    Rows whose video never reached a shard are passed over, and with ``kept_only`` all that are not kept.

    Raises:
        UserError: a shard is missing, truncated or damaged, or a clip is not in its shard.
    """
    wanted = table.filter(pl.col("shard") != "")
    if kept_only:
        wanted = wanted.filter(pl.col("kept"))
    for shard, rows in itertools.groupby(wanted.iter_rows(named=True), key=lambda row: str(row["shard"])):
        with _opened(folder / shard) as (tar, members):
            for row in rows:
                name = f"{row['key']}.mp4"
                if name not in members:
                    raise UserError(f"shard {folder / shard} has no {name}", _MAKE_AGAIN)
                yield row, _read(tar, members[name])


def iter_videos(
    folder: Path,
    table: pl.DataFrame,
    *,
    kept_only: bool = True,
    max_frames: int | None = None,
    cover: tuple[int, int] | None = None,
) -> Iterator[tuple[dict[str, Any], video_io.Video]]:
    """As :func:`iter_clips`, decoded: rows with uint8 [T, H, W, 3]. ``max_frames`` and ``cover`` as in
    :func:`hummingbird.data.video_io.decode`.

    Raises:
        UserError: as :func:`iter_clips`; or a clip does not decode, although it did when its shard was written.
    """
    for row, data in iter_clips(folder, table, kept_only=kept_only):
        try:
            yield row, video_io.decode(data, max_frames, cover=cover)[0]
        except video_io.VideoError as error:
            raise UserError(f"clip {row['clip_id']} in {folder / row['shard']}: {error}", _MAKE_AGAIN) from error
