"""The DVC graph as plain data: stages, edges, and which of them have to run. ``dvc.yaml`` is the only list of edges;
everything in ``flows`` is made from what is read here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hummingbird.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True)
class Dag:
    """Stages in an order in which each comes after all that it needs."""

    needs: dict[str, tuple[str, ...]]  # stage -> the stages whose outputs it reads
    alone: frozenset[str] = frozenset()  # stages during which nothing else may run (`meta: {alone: true}`)

    @property
    def edges(self) -> set[tuple[str, str]]:
        """Pairs (earlier stage, later stage)."""
        return {(needed, stage) for stage, needs in self.needs.items() for needed in needs}

    def upstream(self, targets: Iterable[str] | None) -> Dag:
        """The part of the graph that ``targets`` need, themselves included; None means all of it.

        Raises:
            UserError: there is no such stage.
        """
        if not targets:
            return self
        wanted: set[str] = set()
        waiting = list(targets)
        while waiting:
            stage = waiting.pop()
            if stage not in self.needs:
                raise UserError(f"no stage {stage!r}; {did_you_mean(stage, self.needs)}", "dvc dag shows all stages")
            if stage not in wanted:
                wanted.add(stage)
                waiting += self.needs[stage]
        return Dag({stage: needs for stage, needs in self.needs.items() if stage in wanted}, self.alone & wanted)

    def downstream(self, changed: Iterable[str]) -> set[str]:
        """``changed`` and every stage that depends on one of them."""
        reached = set(changed)
        for stage, needs in self.needs.items():  # in order, so that one pass is enough
            if reached.intersection(needs):
                reached.add(stage)
        return reached


def read_dag(root: Path = Path()) -> Dag:
    """Resolve ``dvc.yaml`` in ``root``.

    Raises:
        UserError: there is no DVC project, or its files do not parse.
    """
    import networkx as nx

    graph = _open(root).index.graph  # edges point from a stage to those it needs
    order = [stage for stage in nx.topological_sort(graph.reverse(copy=False)) if hasattr(stage, "cmd") and stage.cmd]
    needs = {stage.addressing: tuple(sorted(it.addressing for it in graph.successors(stage))) for stage in order}
    alone = frozenset(stage.addressing for stage in order if (stage.meta or {}).get("alone"))
    return Dag(needs, alone)


def changed_stages(dag: Dag, root: Path = Path()) -> set[str]:
    """Stages of ``dag`` of which DVC says that something they depend on or made is not as recorded.

    Raises:
        UserError: another DVC process is at work in ``root``, or what it left is broken.
    """
    repo = _open(root)
    with _explained():
        return set(repo.status(targets=list(dag.needs))) & set(dag.needs)


def _open(root: Path) -> Repo:
    from dvc.repo import Repo

    with _explained():
        repo = Repo(str(root))
        repo.index.check_graph()  # parses dvc.yaml, and fails here if it is wrong
        return repo


@contextmanager
def _explained() -> Iterator[None]:
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except LockError as error:
        raise UserError(
            "another DVC process is at work in this folder", "wait until it is done, then run again"
        ) from error
    except DvcException as error:
        raise UserError(
            f"DVC cannot read the pipeline: {error}", "run from the project folder; see: dvc status"
        ) from error
