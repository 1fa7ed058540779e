"""The Prefect flow ``hummingbird``: one task per DVC stage, generated from the graph, independent ones in parallel.

DVC alone decides what has to run and keeps the results. Prefect decides when, tries again what was not the stage's
fault, and shows it; so nothing is cached or persisted here.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import httpx
from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from flows import artifacts, devices
from flows.failures import BUSY, BusyError, KilledError, LostError, StageError
from flows.links import newest_run, run_link
from flows.reaper import forget
from flows.session import Session, open_session
from flows.settings import Overrides, Profile, Seconds, Settings, Targets
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.ops import tracking

RETRIES = 5  # while DVC is busy or a server away: after 2, 4, 8, 16 and 32 seconds, and some

_threads: Any = ThreadPoolTaskRunner(max_workers=64)  # `StageRunner` bounds what really runs


@flow(
    name="hummingbird",
    task_runner=_threads,
    persist_result=False,
    on_completion=[forget],
    on_failure=[forget],
    on_crashed=[forget],
)
def hummingbird(
    targets: Targets | None = None,
    profile: Profile | None = None,
    force: bool = False,
    clean: bool = False,
    overrides: Overrides | None = None,
    stage_timeout_s: Seconds | None = None,
) -> State[None]:
    """Bring the pipeline up to date. The message of the returned state says which stages ran.

    Args:
        targets: Stages to bring up to date, with all they need. None: all stages.
        profile: Parameter set under profiles/ to use. None: params.yaml as it is.
        force: Run the stages even if nothing changed.
        clean: Work on the last commit, in a git worktree and on a branch of its own.
        overrides: Other values for single parameters. Such a run is always clean.
        stage_timeout_s: Seconds after which a stage is stopped. None: as dvc.yaml says.
    """
    settings = Settings(
        targets=targets,
        profile=profile,
        force=force,
        clean=clean,
        overrides=overrides,
        stage_timeout_s=stage_timeout_s,
    )
    logger = get_run_logger()
    with open_session(Path(), settings, logger) as session:
        if not session.plan.stale:
            message = f"All {len(session.plan.dag.needs)} stages are up to date; nothing to run."
            logger.info(message)
            return Completed(message=message)
        ran = run_tasks(session)
        session.finish(ran, logger)
        return Completed(message=f"Ran {', '.join(ran) or 'nothing'}; {session.outcome}")


def run_tasks(session: Session) -> list[str]:
    """Submit one task per stage, each waiting for those it needs. Returns the names of the stages that ran.

    Raises:
        StageError: a stage failed; those that do not depend on it were still run.
    """
    futures: dict[str, PrefectFuture[bool]] = {}
    try:
        for stage, needs in session.plan.dag.needs.items():
            waits_for = [futures[needed] for needed in needs]
            futures[stage] = stage_task(stage, session).submit(return_state=False, wait_for=waits_for)
        wait(list(futures.values()))
    finally:
        session.runner.stop()  # of use only if this run is cancelled; otherwise nothing is left to stop
    failed = {
        stage: str(future.state.message or "").removeprefix("Task run encountered an exception ")
        for stage, future in futures.items()
        if future.state.is_failed() or future.state.is_crashed()
    }
    if failed:
        waiting = [stage for stage, future in futures.items() if future.state.is_pending()]
        why = "; ".join(f"{stage} ({reason})" for stage, reason in failed.items())
        raise StageError(f"failed: {', '.join(failed)}; not started: {', '.join(waiting) or 'none'}. {why}")
    return [stage for stage, future in futures.items() if future.result()]


def stage_task(stage: str, session: Session) -> Task[[], bool]:
    """A task that brings ``stage`` up to date and returns whether it ran."""
    plan = session.plan
    resource = plan.dag.meta[stage].resource

    @task(
        name=stage,
        tags={resource},
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(2),
        retry_jitter_factor=0.5,
        retry_condition_fn=is_worth_another_try,
    )
    def run() -> bool:
        logger = get_run_logger()
        layout = Layout(session.runner.root)
        since = time.time()
        if stage in plan.stale:
            _run_stage(stage, session, layout, logger)
        made_by = read_json(tracking.record_path(layout, stage))
        if made_by.get("finished_at", 0.0) >= since:
            run_id = made_by.get("run_id")
            artifacts.attempt(lambda: artifacts.show_stage(layout, stage), logger.warning)
            artifacts.attempt(lambda: artifacts.show_run(layout.root, run_id, stage, stage), logger.warning)
            return True
        tracking.log_restored(layout, stage, session.parent)
        logger.info("stage %s did not run: what it would make is there, from run %s", stage, made_by.get("run_id"))
        return False

    return run


def _run_stage(stage: str, session: Session, layout: Layout, logger: Any) -> None:
    """Run a stage when there is room for it on this machine, and show why if its gate failed."""
    meta = session.plan.dag.meta[stage]
    count = session.devices_for(stage)
    gpus = count if meta.resource == "gpu" else 0
    with session.runner.slot(alone=meta.alone), session.pools.slots(meta.resource, count, alone=meta.alone):
        since = time.time()
        with devices.locked(session.devices, gpus) as chosen:
            try:
                session.runner.run(
                    stage,
                    lambda line: logger.log(level_of(line), "%s", line),
                    resource=meta.resource,
                    gpus=gpus,
                    timeout=meta.timeout_s or session.settings.stage_timeout_s,
                    environment=session.devices.visible(chosen) if chosen else {},
                )
            except StageError:
                link = run_link(layout.root, newest_run(layout.root, stage, session.parent))
                artifacts.attempt(lambda: artifacts.show_failed_gate(layout, stage, since, link), logger.warning)
                raise


def level_of(line: str) -> int:
    """The level at which a line of a stage is logged."""
    start = line.lstrip().lower()
    if any(sign in line for sign in BUSY):
        return logging.INFO  # two stages began at once; one of them tries again
    if start.startswith(("error", "traceback", "critical", "fatal")):
        return logging.ERROR
    return logging.WARNING if start.startswith("warning") or "Warning: " in line else logging.INFO


def is_worth_another_try(_task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a task failed for a reason that may be gone: DVC was busy, a connection was lost (the stage's, or ours to
    Prefect), or it was killed for the first time."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, BusyError | LostError | httpx.TransportError) or (
        isinstance(error, KilledError) and run.run_count < 2
    )
