"""The ledger: every move of an alias, in the one order that the server gave them.

MLflow moves an alias without asking what it named before, so two promotions at once would both seem to win. But it
numbers the versions of a registered model itself, each number once. So the ledger is a second registered model,
``NAME-promotions``: one version is one entry, its tags are written with it in one step, and who won follows from the
order. An entry that tells of another holder than its predecessors left does not count, whoever made it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args
from uuid import uuid4

Action = Literal["promote", "rollback", "adopt", "refuse", "decline"]
NONE = "none"  # the holder of an alias that was never given


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: ``alias`` was to go from version ``before`` to ``after``.

    ``number`` is its place, 0 while it has none. ``id`` is given by its writer, who finds it again even if the answer
    of the server was lost. ``adopt`` records a move that was made outside the ledger, ``refuse`` a promotion that the
    gates stopped, ``decline`` one that a person stopped. ``applied``: the alias was moved. ``run_id``: the run that
    holds the report.
    """

    alias: str
    action: Action
    before: int | None
    after: int
    why: str
    who: str
    id: str
    when: str
    run_id: str = ""
    number: int = 0
    applied: bool = False

    @property
    def moves(self) -> bool:
        """Whether the alias moves, if the entry counts."""
        return self.action not in ("refuse", "decline")


def new_entry(alias: str, action: Action, before: int | None, after: int, why: str, who: str) -> Entry:
    """An entry made now, which has no place yet."""
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Entry(alias, action, before, after, why, who, uuid4().hex, when)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger says of one alias: its holder, the holders before it (the holder last), the entries that counted,
    and the entries that lost to another."""

    history: tuple[int, ...] = ()
    valid: tuple[Entry, ...] = ()
    lost: tuple[Entry, ...] = ()

    @property
    def holder(self) -> int | None:
        return self.history[-1] if self.history else None

    @property
    def previous(self) -> int | None:
        """The version that a rollback returns to."""
        return self.history[-2] if len(self.history) > 1 else None

    @property
    def last(self) -> Entry | None:
        """The entry that made the holder the holder."""
        return self.valid[-1] if self.valid else None

    def won(self, entry: Entry) -> bool:
        """Whether an entry, known by its id, counted."""
        return any(entry.id == other.id for other in self.valid)


def fold(entries: Iterable[Entry], alias: str) -> Standing:
    """Read the entries of ``alias`` in their order.

    A rollback returns to the holder before, and takes the present one off the history: two in a row go back by two.
    """
    history: list[int] = []
    valid: list[Entry] = []
    lost: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: entry.number):
        if entry.alias != alias or not entry.moves or any(entry.id == other.id for other in (*valid, *lost)):
            continue  # the same id again: a request that was sent twice
        if entry.before != (history[-1] if history else None) or not _is_possible(entry, history):
            lost.append(entry)
            continue
        if entry.action == "rollback":
            history.pop()
        else:
            history.append(entry.after)
        valid.append(entry)
    return Standing(tuple(history), tuple(valid), tuple(lost))


def _is_possible(entry: Entry, history: list[int]) -> bool:
    """Whether a rollback returns to the holder before, and anything else to another one than the present."""
    if entry.action == "rollback":
        return len(history) > 1 and entry.after == history[-2]
    return not history or entry.after != history[-1]


def to_tags(entry: Entry) -> dict[str, str]:
    """What is written of an entry together with it."""
    return {
        "alias": entry.alias,
        "action": entry.action,
        "from": NONE if entry.before is None else str(entry.before),
        "to": str(entry.after),
        "why": entry.why,
        "who": entry.who,
        "when": entry.when,
        "id": entry.id,
    }


def from_tags(number: int, tags: dict[str, str], run_id: str | None) -> Entry | None:
    """The entry in a version of the ledger; None if it was not written by :func:`to_tags`."""
    try:
        if tags["action"] not in get_args(Action):
            return None
        before = None if tags["from"] == NONE else int(tags["from"])
        return Entry(
            alias=tags["alias"],
            action=tags["action"],  # type: ignore[arg-type]
            before=before,
            after=int(tags["to"]),
            why=tags["why"],
            who=tags["who"],
            id=tags["id"],
            when=tags["when"],
            run_id=run_id or "",
            number=number,
            applied=tags.get("applied") == "true",
        )
    except (KeyError, ValueError):
        return None
