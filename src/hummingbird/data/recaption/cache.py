"""Answers of language models on disk: a run that was killed, or that sees a caption again, asks nothing twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from hummingbird.data.recaption.prompt import Messages
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, or the ``problem`` (``code: detail``) that there was instead. ``final``: the same question
    would give the same again."""

    text: str
    problem: str = ""
    final: bool = True


class Backend(Protocol):
    """A language model. ``identity`` names it and every setting that shapes its answers."""

    @property
    def identity(self) -> str: ...

    def answers(self, prompts: Sequence[Messages]) -> Iterator[tuple[int, Answer]]:
        """The answer to each prompt with the prompt's number, as they come."""


class AnswerCache:
    """One SQLite file, key -> answer. An answer is on disk when :meth:`put` returns.

    Raises:
        UserError: the file is damaged, or the disk cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explain_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._database.execute("PRAGMA synchronous = NORMAL")  # FULL: 20 times as slow, safe from power cuts too
            self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT, problem TEXT)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, key: str) -> Answer | None:
        with self._explained():
            row = self._database.execute("SELECT text, problem FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else Answer(*row)

    def put(self, key: str, answer: Answer) -> None:
        with self._explained():
            self._database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, answer.text, answer.problem)
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(
                f"the answers in {self.path} cannot be read or written: {error}",
                f"free some disk space and run again; if the file is damaged: rm {self.path}",
            ) from error


def ask(backend: Backend, prompts: Sequence[Messages], cache: AnswerCache) -> Iterator[tuple[int, Answer]]:
    """The answer to each prompt with the prompt's number: from the cache, or else, each prompt once, from the model."""
    places: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        places.setdefault(_key(backend, prompt), []).append(number)
    unknown = []
    for key, numbers in places.items():
        if (answer := cache.get(key)) is None:
            unknown.append(key)
        else:
            yield from ((number, answer) for number in numbers)
    for place, answer in backend.answers([prompts[places[key][0]] for key in unknown]):
        if answer.final:
            cache.put(unknown[place], answer)
        yield from ((number, answer) for number in places[unknown[place]])


def _key(backend: Backend, prompt: Messages) -> str:
    return hashlib.sha256(json.dumps([backend.identity, prompt]).encode()).hexdigest()
