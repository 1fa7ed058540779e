"""The DVC graph as plain data: stages, edges, and which of them have to run. ``dvc.yaml`` is the only list of edges;
everything in ``flows`` is made from what is read here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hummingbird.errors import UserError, did_you_mean
from hummingbird.explain import explain_errors
from hummingbird.ops.dvc_project import explained

if TYPE_CHECKING:
    from dvc.repo import Repo


class Meta(BaseModel):
    """How a stage is run, from its ``meta`` in ``dvc.yaml``; no result depends on it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    resource: Literal["cpu", "gpu"] = "cpu"
    alone: bool = False  # nothing else may run meanwhile, because the stage measures time
    timeout_s: Annotated[float, Field(gt=0.0)] | None = None


@dataclass(frozen=True)
class Dag:
    """Stages in an order in which each comes after all that it needs."""

    needs: dict[str, tuple[str, ...]]  # stage -> the stages whose outputs it reads
    meta: dict[str, Meta] = field(default_factory=dict)

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
        return Dag({stage: needs for stage, needs in self.needs.items() if stage in wanted}, self.meta)

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
        UserError: there is no DVC project, its files do not parse, or a stage has a wrong ``meta``.
    """
    import networkx as nx

    with _inside(root) as repo:
        graph = repo.index.graph  # edges point from a stage to those it needs
        sequence = nx.topological_sort(graph.reverse(copy=False))
        order = [stage for stage in sequence if hasattr(stage, "cmd") and stage.cmd]
        needs = {stage.addressing: tuple(sorted(it.addressing for it in graph.successors(stage))) for stage in order}
        return Dag(needs, {stage.addressing: _meta(stage.addressing, stage.meta or {}) for stage in order})


def _meta(stage: str, values: dict[str, object]) -> Meta:
    try:
        return Meta.model_validate(values)
    except ValidationError as error:
        lines = "; ".join(explain_errors(error, Meta))
        raise UserError(f"the meta of stage {stage} in dvc.yaml is wrong: {lines}", "mend dvc.yaml") from error


def changed_stages(dag: Dag, root: Path = Path()) -> set[str]:
    """Stages of ``dag`` of which DVC says that something they depend on or made is not as recorded.

    Raises:
        UserError: another DVC process is at work in ``root``, or what it left is broken.
    """
    with _inside(root) as repo:
        return set(repo.status(targets=list(dag.needs))) & set(dag.needs)


@contextmanager
def _inside(root: Path) -> Iterator[Repo]:
    """The project in ``root``, with ``root`` as the current folder: DVC names stages from where it is."""
    from dvc.repo import Repo

    with explained(), chdir(root):
        repo = Repo()
        repo.index.check_graph()  # parses dvc.yaml, and fails here if it is wrong
        yield repo
