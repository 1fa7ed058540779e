"""The Prefect flow ``hummingbird``: one task per DVC stage, generated from the graph, independent ones in parallel.

DVC alone decides what has to run and keeps the results. Prefect decides when, retries while DVC is busy, and shows it;
so nothing is cached or persisted here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ThreadPoolTaskRunner

from flows.pipeline import Plan, make_plan
from flows.repro import BusyError, StageRunner
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.ops import tracking
from hummingbird.profiles import use_profile

RETRIES = 5  # while DVC is busy, some seconds apart


_threads: Any = ThreadPoolTaskRunner(max_workers=64)  # `StageRunner` bounds what really runs


@flow(name="hummingbird", task_runner=_threads, persist_result=False)
def hummingbird(targets: list[str] | None = None, profile: str | None = None, force: bool = False) -> list[str]:
    """Bring the pipeline up to date. Returns the names of the stages that ran.

    Args:
        targets: stages to bring up to date, with all they need; none means all stages.
        profile: parameter set under profiles/ to make the active one first; none keeps params.yaml.
        force: run the stages even if nothing changed.
    """
    root = Path()
    if profile:
        use_profile(profile, root)
    plan = make_plan(targets, force, root)
    if not plan.stale:
        return []
    with tracking.pipeline_run(root, "flow") as parent:
        runner = StageRunner(root, parent, force=force, slots=max(2, (os.cpu_count() or 2) // 4))
        try:
            return run_tasks(plan, runner, parent)
        finally:
            runner.stop()  # of use only if this run is cancelled; otherwise nothing is left to stop


def run_tasks(plan: Plan, runner: StageRunner, parent: str) -> list[str]:
    """Submit one task per stage, each waiting for those it needs. Returns the names of the stages that ran.

    Raises:
        RuntimeError: a stage failed; those that do not depend on it were still run.
    """
    futures: dict[str, PrefectFuture[bool]] = {}
    for stage, needs in plan.dag.needs.items():
        waits_for = [futures[needed] for needed in needs]
        futures[stage] = stage_task(stage, plan, runner, parent).submit(return_state=False, wait_for=waits_for)
    wait(list(futures.values()))
    failed = [stage for stage, future in futures.items() if future.state.is_failed() or future.state.is_crashed()]
    if failed:
        waiting = [stage for stage, future in futures.items() if future.state.is_pending()]
        raise RuntimeError(f"failed: {', '.join(failed)}; not started: {', '.join(waiting) or 'none'}")
    return [stage for stage, future in futures.items() if future.result()]


def stage_task(stage: str, plan: Plan, runner: StageRunner, parent: str) -> Task[[], bool]:
    """A task that brings ``stage`` up to date and returns whether it ran."""

    @task(
        name=stage,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=2,
        retry_jitter_factor=1,
        retry_condition_fn=was_busy,
    )
    def run() -> bool:
        logger = get_run_logger()
        layout = Layout(runner.root)
        if stage in plan.stale:
            runner.run(stage, lambda line: logger.info("%s", line), alone=stage in plan.dag.alone)
        made_by = read_json(tracking.record_path(layout, stage))
        if made_by.get("parent_run_id") == parent:
            return True
        tracking.log_restored(layout, stage, parent)
        logger.info("stage %s did not run: what it would make is there, from run %s", stage, made_by.get("run_id"))
        return False

    return run


def was_busy(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a task failed only because another DVC process was at work."""
    return isinstance(state.result(raise_on_failure=False), BusyError)
