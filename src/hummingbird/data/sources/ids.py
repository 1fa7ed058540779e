"""Names of clips: safe as file names, and unique however often the source repeats its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")
_MADE = re.compile(r"--(\d+|x[0-9a-f]{16})\Z")  # ends that only this module may give
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe_id(text: str) -> str:
    """``text`` if it is safe as a file name everywhere, else what is readable of it and a hash of the whole.

    Safe are 1 to 80 letters of [A-Za-z0-9._-] without a dot in front.
    """
    if _SAFE.fullmatch(text) and not _MADE.search(text):
        return text
    readable = _UNSAFE.sub("-", text[:200]).strip(".-")[:60] or "clip"
    return f"{readable}--x{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


class Ids:
    """Numbers the repetitions in a list of safe ids, of which only four bytes a row are kept.

    The second ``a`` becomes ``a--2``. That never is another row's id, for :func:`safe_id` gives no such end to any.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        """``ids``: one for each row, from :func:`safe_id`."""
        self._before = _repetitions(np.fromiter(map(_key, ids), np.uint64))

    def __len__(self) -> int:
        return len(self._before)

    def unique(self, row: int, safe: str) -> str:
        """The clip id of a row whose safe id is ``safe``."""
        before = int(self._before[row])
        return f"{safe}--{before + 1}" if before else safe


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _repetitions(keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """How often each of N keys has occurred before it, [N]."""
    order = np.argsort(keys, kind="stable")
    ranked, places = keys[order], np.arange(len(keys))
    is_new = np.append(True, ranked[1:] != ranked[:-1])[: len(keys)]
    first = np.maximum.accumulate(np.where(is_new, places, 0))
    before = np.empty(len(keys), np.uint32)
    before[order] = places - first
    return before
