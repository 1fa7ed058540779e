"""Files of the Hugging Face hub. huggingface_hub finds, names and authorises them; sources.py brings the bytes.

(Its own download starts anew after a killed run: it writes to a file that is named after the process.)
``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and the hub's cache are honoured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hummingbird.checkpoints.catalogue import Checkpoint, File
from hummingbird.checkpoints.sources import BY_HAND, FileSource, HttpSource, Source
from hummingbird.streams.stream import UnavailableError

_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<path>.+))?")


@dataclass(frozen=True)
class HubAddress:
    """``hf://owner/repository@revision/path``; the revision is ``main`` if left out, an empty path is the whole."""

    repo: str
    revision: str
    path: str

    @classmethod
    def parse(cls, address: str) -> HubAddress:
        """Read an address.

        Raises:
            UnavailableError: it is not of this form.
        """
        match = _ADDRESS.fullmatch(address.rstrip("/"))
        if match is None:
            raise UnavailableError(
                f"{address!r} is no address of the hub", "write it as hf://owner/repository@revision/path"
            )
        return cls(match["repo"], match["revision"] or "main", match["path"] or "")

    def __str__(self) -> str:
        return f"hf://{self.repo}@{self.revision}" + (f"/{self.path}" if self.path else "")


def hub_source(address: str) -> Source:
    """The file at ``address``, at the commit that its revision stands for now; from the hub's cache if it is there.

    Raises:
        UnavailableError: offline and not in the cache; no such repository, revision or file; no access; no connection.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.utils import build_hf_headers

    place = HubAddress.parse(address)
    if is_offline_mode():
        if cached := _cached(place, place.revision):
            return cached
        raise _offline(place)
    info = _repository(place)
    found = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    if place.path not in found:
        raise UnavailableError(
            f"{place} is not there: the repository has no such file", f"give another --source, {BY_HAND}"
        )
    fixed = HubAddress(place.repo, info.sha or place.revision, place.path)
    if cached := _cached(fixed, fixed.revision):
        return cached
    lfs = found[place.path].lfs
    return HttpSource(
        hf_hub_url(fixed.repo, fixed.path, revision=fixed.revision, endpoint=_endpoint()),
        headers=build_hf_headers(),
        name=str(fixed),
        sha256=lfs.sha256 if lfs else None,
        refused=f"accept the terms on the repository's page ({fixed.repo}) and log in: hf auth login",
    )


def hub_files(address: str, row: Checkpoint) -> tuple[str, list[File]]:
    """The address with its revision replaced by the commit it stands for, and the files that match the row's patterns.

    Raises:
        UnavailableError: see :func:`hub_source`; or no file matches.
    """
    from huggingface_hub.constants import is_offline_mode

    place = HubAddress.parse(address)
    if is_offline_mode():
        raise _offline(place)
    info = _repository(place)
    names = [sibling.rfilename for sibling in info.siblings or ()]
    files = [File(path=name) for name in sorted(names) if row.matches(name)]
    if not files:
        raise UnavailableError(
            f"{place} has no file like {', '.join(row.patterns)}", f"give another --source, {BY_HAND}"
        )
    return str(HubAddress(place.repo, info.sha or place.revision, place.path)), files


def _repository(place: HubAddress) -> Any:
    from huggingface_hub import HfApi

    with _explained(place):
        return HfApi(endpoint=_endpoint()).model_info(place.repo, revision=place.revision, files_metadata=True)


def _endpoint() -> str | None:
    """The library reads this variable once, when it is first imported; a user may set it later."""
    return os.environ.get("HF_ENDPOINT")


def _cached(place: HubAddress, revision: str) -> FileSource | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(place.repo, place.path, revision=revision)
    return FileSource(Path(path)) if isinstance(path, str) else None


def _offline(place: HubAddress) -> UnavailableError:
    return UnavailableError(
        f"{place} is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it",
        f"unset HF_HUB_OFFLINE where there is a network, {BY_HAND}",
    )


@contextmanager
def _explained(place: HubAddress) -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        step = f"accept the terms on the repository's page ({place.repo}) and log in: hf auth login"
        raise UnavailableError(f"{place} may not be fetched: its repository is gated", step) from error
    except RepositoryNotFoundError as error:
        step = f"check the address, log in if it is private (hf auth login), {BY_HAND}"
        raise UnavailableError(f"{place} is not there: the hub knows no such repository", step) from error
    except RevisionNotFoundError as error:
        raise UnavailableError(
            f"{place} is not there: no such revision", f"check the part after @, {BY_HAND}"
        ) from error
    except HFValidationError as error:
        raise UnavailableError(f"{place} is no address of the hub: {error}", "correct it") from error
    except HfHubHTTPError as error:
        raise UnavailableError(f"the hub refuses {place}: {error}", f"try again later, {BY_HAND}") from error
    except HTTPError as error:  # of its HTTP client: no connection
        raise UnavailableError(
            f"no hub answers for {place}: {error}", f"check the network and HF_ENDPOINT, {BY_HAND}"
        ) from error
