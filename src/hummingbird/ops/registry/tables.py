"""What `hummingbird registry` shows: the versions, and the log of their promotions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hummingbird.errors import UserError
from hummingbird.ops.registry import evidence
from hummingbird.ops.registry.promotion import settle
from hummingbird.ops.registry.server import Registry
from hummingbird.params import Promotion


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version; what is not known of it is empty."""

    version: int
    aliases: str
    model: str
    quality: str
    latency: str
    commit: str
    made: str


@dataclass(frozen=True, slots=True)
class LogRow:
    """An entry of the ledger. ``result``: ``done``, ``refused``, ``declined``, ``lost`` (another was first) or
    ``repeated`` (the same request, sent twice)."""

    entry: int
    when: str
    action: str
    alias: str
    before: int | None
    after: int
    result: str
    who: str
    why: str
    run: str


def versions(registry: Registry, rules: Promotion) -> tuple[list[VersionRow], list[str]]:
    """The versions, the newest first; and what is wrong with the aliases."""
    notes = []
    for alias in rules.aliases:
        try:
            settle(registry, alias)
        except UserError as error:
            notes.append(f"{error.problem}. {error.next_step}")
    holders: dict[int, list[str]] = {}
    for alias, number in registry.aliases().items():
        holders.setdefault(number, []).append(alias)
    rows = []
    for version in registry.versions():
        number, known = int(version.version), evidence.from_tags(version.tags)
        figures = known.quality.figures if known and known.quality else {}
        shown = [f"{name} {figures[name].value:.4g}" for name in rules.figures if name in figures]
        latency = f"{known.latency.median_s:.3g} s" if known and known.latency else ""
        made = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(" ", "minutes")[:16]
        commit = known.provenance.commit[:10] if known else ""
        aliases = ", ".join(sorted(holders.get(number, [])))
        rows.append(VersionRow(number, aliases, known.model if known else "", ", ".join(shown), latency, commit, made))
    return rows, notes


def log(registry: Registry) -> list[LogRow]:
    """Every entry, the oldest first."""
    entries = registry.entries()
    standings = {entry.alias: registry.standing(entry.alias) for entry in entries}
    rows = []
    for entry in entries:
        standing = standings[entry.alias]
        if not entry.moves:
            result = f"{entry.action}d"
        elif entry in standing.valid:
            result = "done"
        else:
            result = "lost" if entry in standing.lost else "repeated"
        rows.append(
            LogRow(
                entry=entry.number,
                when=entry.when[:16].replace("T", " "),
                action=entry.action,
                alias=entry.alias,
                before=entry.before,
                after=entry.after,
                result=result,
                who=entry.who,
                why=entry.why,
                run=entry.run_id,
            )
        )
    return rows
