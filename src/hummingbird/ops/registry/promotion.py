"""Moves an alias: first an entry in the ledger, which decides, then the alias itself, which shows it.

A command that dies between the two leaves an entry that the next command finds and carries out. An alias that was moved
past the ledger, in MLflow's own page, is an error until somebody says which of the two is right.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from dataclasses import asdict, dataclass
from typing import Any

from hummingbird.errors import UserError, did_you_mean
from hummingbird.ops.registry import gates
from hummingbird.ops.registry.evidence import Evidence
from hummingbird.ops.registry.gates import Verdict
from hummingbird.ops.registry.ledger import Entry, Standing, new_entry
from hummingbird.ops.registry.server import Registry
from hummingbird.params import Promotion

_LOOKS = 6  # at an alias that does not agree with the ledger, before it counts as moved by hand
_PAUSE = 0.4  # seconds between them: another command may be between its entry and its move


class RefusedError(UserError):
    """The gates stopped a promotion."""

    def __init__(self, problem: str, next_step: str, verdicts: list[Verdict] | None = None) -> None:
        super().__init__(problem, next_step)
        self.verdicts = verdicts or []


@dataclass(frozen=True)
class Outcome:
    """What a promotion came to. ``entry`` is None if it only asked; ``before`` is the version that was replaced."""

    version: int
    alias: str
    before: int | None
    verdicts: list[Verdict]
    entry: Entry | None = None


def examine(registry: Registry, version: int, alias: str, rules: Promotion) -> Outcome:
    """What the gates say of giving ``alias`` to ``version``. Changes nothing, but finishes a move that was begun.

    Raises:
        UserError: no such alias or version, its files are gone, it has the alias already, or the alias was moved by
            hand.
    """
    _check_alias(alias, rules)
    registry.version(version)
    registry.check_files(version)
    holder = settle(registry, alias).holder
    if holder == version:
        raise UserError(f"version {version} is {alias} already", "see all: hummingbird registry list")
    if holder is not None and not registry.exists(holder):
        raise UserError(
            f"version {holder}, the {alias} by the ledger, was deleted, so nothing can be compared with it",
            f"return to the one before, then promote: hummingbird rollback --to {alias} --why TEXT",
        )
    found = registry.evidence(version)
    return Outcome(version, alias, holder, gates.judge(found, _of(registry, holder), rules))


def promote(
    registry: Registry,
    version: int,
    alias: str,
    why: str,
    rules: Promotion,
    who: str | None = None,
    approved: Outcome | None = None,
) -> Outcome:
    """Give ``alias`` to ``version`` if all gates pass. A refusal is recorded as well.

    Args:
        approved: what a person said yes to; the approval holds only for the holder of the alias that was compared then.

    Raises:
        RefusedError: a gate did not pass.
        UserError: as in :func:`examine`; or another promotion was first.
    """
    _check_why(why)
    outcome = examine(registry, version, alias, rules)
    if approved is not None and outcome.before != approved.before:
        raise UserError(
            f"{_named(outcome.before)} became {alias} meanwhile, so the approval is of another comparison",
            "look at the comparison with the present one, and approve that",
        )
    if gates.failing(outcome.verdicts):
        raise refuse(registry, outcome, why, who)
    entry = new_entry(alias, "promote", outcome.before, version, why, who or whoami())
    entry = registry.append(entry, _report(registry, outcome))
    _carry_out(registry, entry)
    return Outcome(version, alias, outcome.before, outcome.verdicts, entry)


def refuse(registry: Registry, outcome: Outcome, why: str, who: str | None = None) -> RefusedError:
    """Record that the gates stopped ``outcome``, and nothing else. Returns the error to raise.

    Raises:
        UserError: there is no reason why it was tried.
    """
    _check_why(why)
    entry = new_entry(outcome.alias, "refuse", outcome.before, outcome.version, why, who or whoami())
    entry = registry.append(entry, _report(registry, outcome))
    listed = "\n".join(f"  {verdict.gate}: {verdict.text}" for verdict in gates.failing(outcome.verdicts))
    return RefusedError(
        f"version {outcome.version} was not made {outcome.alias}:\n{listed}",
        f"mend what is named, hummingbird register, and promote the new version; the attempt is entry "
        f"{entry.number} of hummingbird registry log",
        outcome.verdicts,
    )


def decline(registry: Registry, outcome: Outcome, why: str, who: str) -> Entry:
    """Record that a person stopped what the gates would have let pass."""
    entry = new_entry(outcome.alias, "decline", outcome.before, outcome.version, why, who)
    return registry.append(entry, _report(registry, outcome))


def rollback(registry: Registry, alias: str, why: str, rules: Promotion, who: str | None = None) -> Outcome:
    """Give ``alias`` back to the version that had it before. No gates: it passed them then.

    Raises:
        UserError: there is none before, or its files are gone; or another promotion was first.
    """
    _check_alias(alias, rules)
    _check_why(why)
    standing = settle(registry, alias)
    if standing.previous is None:
        now = f"it is version {standing.holder}" if standing.holder else "no version has it"
        raise UserError(f"no version was {alias} before; {now}", "see: hummingbird registry log")
    registry.check_files(standing.previous)
    outcome = Outcome(standing.previous, alias, standing.holder, [])
    entry = new_entry(alias, "rollback", standing.holder, standing.previous, why, who or whoami())
    entry = registry.append(entry, _report(registry, outcome))
    _carry_out(registry, entry)
    return Outcome(outcome.version, alias, outcome.before, [], entry)


def repair(registry: Registry, alias: str, keep: str, why: str, rules: Promotion) -> Entry | None:
    """End a disagreement of an alias and the ledger. Returns the entry, if one was made.

    Args:
        keep: ``ledger`` moves the alias back, ``alias`` records the move that was made by hand.

    Raises:
        UserError: they agree, or the alias is gone and cannot be kept.
    """
    _check_alias(alias, rules)
    _check_why(why)
    standing, shown = registry.standing(alias), registry.alias(alias)
    if shown == standing.holder:
        raise UserError(f"{alias} is what the ledger says: {_named(shown)}", "nothing is to be mended")
    if keep == "ledger":
        if standing.holder is None:
            raise UserError(
                f"the ledger knows no {alias} to return to", "record the one there is: --keep alias, or delete it"
            )
        registry.check_files(standing.holder)
        _show(registry, alias)
        return None
    if shown is None:
        raise UserError(
            f"no version has the alias {alias}, so it cannot be kept", "return to the ledger: --keep ledger"
        )
    registry.check_files(shown)
    entry = new_entry(alias, "adopt", standing.holder, shown, why, whoami())
    entry = registry.append(entry, _report(registry, Outcome(shown, alias, standing.holder, [])))
    _carry_out(registry, entry)
    return entry


def settle(registry: Registry, alias: str) -> Standing:
    """What the ledger says of ``alias``, with the alias itself brought to agree if a command died before it had.

    Raises:
        UserError: the alias was moved by hand.
    """
    for _ in range(_LOOKS):
        standing, shown = registry.standing(alias), registry.alias(alias)
        last = standing.last
        if shown == standing.holder:
            if last and not last.applied:
                registry.mark(last, "applied", "true")
            return standing
        if last and not last.applied and shown == last.before:
            _show(registry, alias)
            continue
        if shown is None and standing.holder is not None and not registry.exists(standing.holder):
            return standing  # it was deleted, and its alias with it
        time.sleep(_PAUSE)
    raise UserError(
        f"{alias} is {_named(shown)}, but the ledger says {_named(standing.holder)}: it was moved by hand",
        f"say which is right: hummingbird registry repair {alias} --keep ledger, or --keep alias, each with --why TEXT",
    )


def whoami() -> str:
    """The person at this machine, as far as it knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _carry_out(registry: Registry, entry: Entry) -> None:
    """Move the alias if ``entry`` counts.

    Raises:
        UserError: another entry was first.
    """
    standing = registry.standing(entry.alias)
    if not standing.won(entry):
        winner = next((other for other in reversed(standing.valid) if other.number < entry.number), None)
        registry.mark(entry, "void", f"entry {winner.number} was first" if winner else "does not follow the ledger")
        who = f"{winner.who} made version {winner.after} {entry.alias} first" if winner else "the ledger moved on"
        raise UserError(
            f"{who} (entry {winner.number if winner else '?'}: {winner.why if winner else ''}); version {entry.after} "
            f"was not made {entry.alias}",
            "see: hummingbird registry log; then decide again",
        )
    _show(registry, entry.alias)


def _show(registry: Registry, alias: str) -> None:
    """Make the alias what the ledger says, until both agree: whoever moves it last has read the ledger since."""
    standing = registry.standing(alias)
    while standing.holder is not None and standing.last is not None:
        registry.set_alias(alias, standing.holder)
        registry.mark(standing.last, "applied", "true")
        again = registry.standing(alias)
        if again.holder == standing.holder:
            return
        standing = again


def _of(registry: Registry, version: int | None) -> Evidence | None:
    """Evidence of the holder of the alias; None only if there is no holder.

    Raises:
        UserError: it was made in another way than by `hummingbird register`.
    """
    if version is None:
        return None
    found = registry.evidence(version)
    if found is None:
        raise UserError(
            f"version {version}, the holder of the alias, does not say how good and how fast it is, so nothing can be "
            "compared with it",
            "roll back to a version that does: hummingbird rollback --why TEXT",
        )
    return found


def _report(registry: Registry, outcome: Outcome) -> dict[str, Any]:
    """The artifact of an entry: what the gates said, and what was known of both versions."""
    numbers = [number for number in (outcome.version, outcome.before) if number is not None]
    known = {number: registry.evidence(number) for number in numbers if registry.exists(number)}
    return {
        "model": registry.name,
        "verdicts": [asdict(verdict) for verdict in outcome.verdicts],
        "versions": {str(number): found.model_dump() for number, found in known.items() if found},
    }


def _check_alias(alias: str, rules: Promotion) -> None:
    if alias not in rules.aliases:
        raise UserError(
            f"no alias {alias!r} to promote to; {did_you_mean(alias, rules.aliases)}",
            "the aliases are promotion.aliases of params.yaml",
        )


def _check_why(why: str) -> None:
    if not why.strip():
        raise UserError("no reason was given", "say why, for those who read the log: --why TEXT")


def _named(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
