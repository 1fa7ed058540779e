"""The flow ``promote`` with a Prefect server and an MLflow database of its own; the person is played by the test."""

from __future__ import annotations

import contextvars
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from httpx import HTTPStatusError

from hummingbird.errors import UserError
from hummingbird.ops import tracking
from hummingbird.ops.registry import evidence, promotion
from hummingbird.ops.registry.evidence import Evidence
from hummingbird.ops.registry.server import PIPELINE, Registry
from hummingbird.params import Params, Promotion, dump_params


@pytest.fixture
def registry(tmp_path: Path, runs: str, monkeypatch: pytest.MonkeyPatch, known: Callable[..., Evidence]) -> Registry:
    """Versions 1 (the champion to be), 2 (better) and 3 (worse) of a registered model of this test's own."""
    for name in ("MLFLOW_RUN_ID", tracking.PARENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", runs)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(dump_params(Params(promotion=Promotion(approval_timeout_s=240.0))))
    registry = Registry(Path(), tmp_path.name)
    registry.client.create_registered_model(registry.name)
    for reward in (0.5, 0.6, 0.4):
        folder = tmp_path / "store" / str(reward)
        (folder / PIPELINE).mkdir(parents=True)
        (folder / PIPELINE / "weights").write_bytes(b"w")
        (folder / "MLmodel").touch()
        tags = evidence.to_tags(known(reward, size=1, figures=Promotion().figures))
        registry.client.create_model_version(registry.name, folder.as_uri(), tags=tags, await_creation_for=0)
    return registry


@pytest.fixture
def start(registry: Registry, prefect_server: str) -> Iterator[Any]:
    """Starts the flow in another thread; the result is its last state."""
    from flows.promote import promote

    with ThreadPoolExecutor(1) as pool:
        context = contextvars.copy_context()  # which server the flow is to talk to

        def start(version: int) -> Future[Any]:
            arguments = {"version": version, "why": "better", "model": registry.name}
            return pool.submit(context.run, lambda: promote(**arguments, return_state=True))

        yield start


def answer(flow: Future[Any], **form: Any) -> Any:
    """Fill in the form as the UI does, once the flow waits for it. Returns the flow's last state."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.exceptions import ObjectNotFound
    from prefect.flow_runs import resume_flow_run

    paused = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}})
    with get_client(sync_client=True) as client:
        while not flow.done():
            for run in client.read_flow_runs(flow_run_filter=paused):
                with suppress(HTTPStatusError, ObjectNotFound):  # it waits, but its form is not there yet
                    resume_flow_run(run.id, run_input=form)
            time.sleep(0.2)
    return flow.result()


def table() -> list[dict[str, str]]:
    """The newest table of verdicts."""
    from prefect.client.orchestration import get_client

    from flows.promote import GATES

    with get_client(sync_client=True) as client:
        wanted = {"artifacts": {"key": {"any_": [GATES]}}, "sort": "CREATED_DESC", "limit": 1}
        found = client.request("POST", "/artifacts/filter", json=wanted).json()
    rows: list[dict[str, str]] = json.loads(found[0]["data"])
    return rows


def test_an_approved_version_becomes_champion_and_a_declined_one_does_not(registry: Registry, start: Any) -> None:
    state = answer(start(1), approve=True, name="ann", comment="looks right")
    assert state.is_completed() and state.message.endswith("is champion now, approved by ann"), state
    assert registry.alias("champion") == 1
    assert {row["passed"] for row in table()} == {"yes"}
    state = answer(start(2), approve=False, name="eve", comment="not on a Friday")
    assert state.is_cancelled() and "eve declined: not on a Friday" in state.message
    assert registry.alias("champion") == 1
    assert [(entry.action, entry.who, entry.why) for entry in registry.entries()] == [
        ("promote", "ann", "better (looks right)"),
        ("decline", "eve", "better (not on a Friday)"),
    ]


def test_a_worse_version_is_refused_before_anybody_is_asked(registry: Registry, start: Any) -> None:
    answer(start(2), approve=True, name="ann")
    state = start(3).result()
    assert state.is_failed() and "quality: held_out_reward" in state.message
    assert [row["gate"] for row in table() if row["passed"] == "NO"] == [
        "quality: held_out_reward",
        "quality: probe_all",
    ]
    assert registry.alias("champion") == 2
    assert registry.entries()[-1].action == "refuse"


def without_server(monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[], Any]) -> Callable[..., Any]:
    """The function of the flow, whose step ``name`` is ``do``."""
    import flows.promote as module

    monkeypatch.setattr(module, "_show", lambda *_: None)
    monkeypatch.setattr(module, name, lambda *_: do())
    flow: Callable[..., Any] = module.promote.fn
    return flow


def test_a_version_that_was_mended_while_it_was_refused_waits_for_a_person_all_the_same(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Params().promotion
    promotion.promote(registry, 2, "champion", "the first", rules)

    def mend() -> None:
        for name in rules.figures:
            registry.client.set_model_version_tag(registry.name, "3", f"quality.figures.{name}.value", "0.9")

    flow = without_server(monkeypatch, "_show", mend)
    with pytest.raises(promotion.RefusedError, match="quality: held_out_reward"):
        flow(3, "better", model=registry.name)
    assert registry.alias("champion") == 2
    assert [entry.action for entry in registry.entries()] == ["promote", "refuse"]


def test_an_approval_is_not_used_for_another_champion(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Params().promotion
    promotion.promote(registry, 3, "champion", "the first", rules)
    examine = promotion.examine

    def examine_after_the_other(*arguments: Any) -> promotion.Outcome:
        monkeypatch.setattr(promotion, "examine", examine)
        promotion.promote(registry, 1, "champion", "mine is best", rules, who="bob")
        return examine(*arguments)

    def approve() -> Any:
        from flows.promote import Approval

        monkeypatch.setattr(promotion, "examine", examine_after_the_other)  # after all that the flow itself asks
        return Approval(approve=True, name="ann")

    with pytest.raises(UserError, match="version 1 became champion meanwhile"):
        without_server(monkeypatch, "_ask", approve)(2, "better", model=registry.name)
    assert registry.alias("champion") == 1
