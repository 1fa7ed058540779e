"""The kinds of golden files that can be run, and which one a file is of."""

from __future__ import annotations

from hummingbird.parity import distillation, networks, rewards, schedules, tokens
from hummingbird.parity.golden import Golden, Kind

#: Networks: computed on the chosen device, in the chosen dtype, with the chosen attention.
NETWORKS: list[Kind] = [*networks.KINDS, *rewards.KINDS]
#: Arithmetic: always on the CPU, in the precision of the recorded values.
ARITHMETIC: list[Kind] = [*schedules.KINDS, *distillation.KINDS, *tokens.KINDS, *rewards.PREPARATION]


def kind_of(golden: Golden) -> Kind | None:
    """The kind whose content ``golden`` has; None if it is of none of them."""
    return next((kind for kind in (*NETWORKS, *ARITHMETIC) if kind.matches(golden)), None)
