"""What was fetched, as DVC imports: a file ``checkpoints/imports/NAME/PATH.dvc`` each, to be committed to git.

Such a file names the address (as ``dvc import-url`` does), the md5 that DVC compares, and in its ``meta`` the sha256:
the first fetch of an unpinned file pins it for everyone who has the file. The content itself is not copied to DVC's
cache and so never pushed: it would lie on the disk twice, and most licences restrict passing it on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors


@dataclass(frozen=True)
class Record:
    """One fetched file."""

    name: str  # of the checkpoint
    path: str  # of the file in it
    sha256: str
    md5: str
    bytes: int
    source: str  # address it was fetched from
    url: str | None  # the same for DVC; None if it was a local file
    licence: str
    files: int  # of the whole checkpoint


def read_records(store: Store, name: str) -> dict[str, Record]:
    """What was fetched of checkpoint ``name``, by path.

    Raises:
        UserError: a file in ``checkpoints/imports`` is broken.
    """
    found = {}
    for file in sorted((store.imports / name).rglob("*.dvc")):
        try:
            values = yaml.safe_load(file.read_text())
            [out], meta = values["outs"], values["meta"]
            record = Record(
                name=name,
                path=out["path"],
                sha256=str(meta["sha256"]),
                md5=out["md5"],
                bytes=int(out["size"]),
                source=meta["source"],
                url=values["deps"][0]["path"] if "deps" in values else None,
                licence=meta["licence"],
                files=int(meta["files"]),
            )
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{file} is no record of a checkpoint: {error}", f"git checkout {file}, or delete it and fetch again"
            ) from error
        found[record.path] = record
    return found


def write_record(store: Store, record: Record) -> None:
    """Write the import file of ``record``, through DVC.

    Raises:
        UserError: the project is no DVC project, or the file cannot be written.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    project = store.project.resolve()
    file = project / store.imports.relative_to(store.project) / record.name / f"{record.path}.dvc"
    with explain_disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Repo(str(project)) as repo:
            _import_stage(repo, file, store.path(record.name, "").resolve(), record).dump()
    except DvcException as error:
        raise UserError(
            f"DVC cannot record {record.name}/{record.path}: {error}", "run from the project folder; see: dvc status"
        ) from error


def _import_stage(repo: Any, file: Any, folder: Any, record: Record) -> Any:
    """DVC's stage of a finished import: its output is there already, and is not to be cached."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    stage = repo.stage.create(
        single_stage=True,
        validate=False,
        fname=str(file),
        wdir=str(folder),
        deps=[record.url] if record.url else [],
        outs_no_cache=[record.path],
        frozen=True,
        meta={
            "sha256": record.sha256,
            "source": record.source,
            "licence": record.licence,
            "files": record.files,
        },
    )
    out = stage.outs[0]
    out.hash_info, out.meta = HashInfo("md5", record.md5), Meta(size=record.bytes)
    stage.md5 = stage.compute_md5() if record.url else None
    return stage
