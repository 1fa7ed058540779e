"""The Prefect flow ``promote``: the gates, then a person's word in the UI, then the move of the alias."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Cancelled, Completed

from hummingbird.errors import UserError
from hummingbird.ops import server
from hummingbird.ops.registry import promotion
from hummingbird.ops.registry.gates import failing
from hummingbird.ops.registry.promotion import Outcome
from hummingbird.ops.registry.server import Registry
from hummingbird.params import load_params

GATES = "promotion-gates"  # key of the artifact
_LOOK_EVERY = 2  # seconds, for the answer


class Approval(RunInput):
    """The form that the Prefect UI shows while the flow waits. No Prefect server of one's own knows who fills it in."""

    approve: bool = False
    name: str
    comment: str = ""


@flow(name="promote", persist_result=False)
def promote(version: int, why: str, alias: str = "champion", model: str = "hummingbird") -> State[None]:
    """Give an alias to a registered version, if the gates let it pass and a person approves.

    The flow waits in the state Paused; "Resume" shows the form. Meanwhile somebody else may promote: the gates are
    asked again after the approval, and the approval of a comparison with another holder counts for nothing.

    Args:
        version: of the registered model.
        why: the reason, for those who read the log.
        alias: one of promotion.aliases of params.yaml.
        model: name of the registered model.
    """
    registry, rules = Registry(Path(), model), load_params().promotion
    outcome = promotion.examine(registry, version, alias, rules)
    _show(registry, outcome)
    if failing(outcome.verdicts):
        raise promotion.refuse(registry, outcome, why)
    approval = _ask(outcome, why, rules.approval_timeout_s)
    who, reason = approval.name, f"{why} ({approval.comment})" if approval.comment else why
    if not approval.approve:
        promotion.decline(registry, outcome, reason, who)
        return Cancelled(message=f"{who} declined: {approval.comment or 'no reason given'}")
    promotion.promote(registry, version, alias, reason, rules, who, approved=outcome)
    return Completed(message=f"version {version} of {model} is {alias} now, approved by {who}")


def _show(registry: Registry, outcome: Outcome) -> None:
    """Every gate's verdict, in the log and as a table of the run."""
    logger = get_run_logger()
    for verdict in outcome.verdicts:
        logger.log(20 if verdict.passed else 40, "%s: %s", verdict.gate, verdict.text)
    rows = [
        {"gate": it.gate, "passed": "yes" if it.passed else "NO", "found": it.found, "asked for": it.asked}
        for it in outcome.verdicts
    ]
    link = server.version_url(registry.root, registry.name, outcome.version)
    where = f": [MLflow]({link})" if link else ""
    text = f"Version {outcome.version} of {registry.name} as {outcome.alias}; now: {outcome.before or 'none'}{where}"
    create_table_artifact(rows, key=GATES, description=text)


def _ask(outcome: Outcome, why: str, timeout_s: float) -> Approval:
    """Wait for a person.

    Raises:
        UserError: nobody answered in time.
    """
    lines = [f"- {verdict.text}" for verdict in outcome.verdicts]
    replaced = f"version {outcome.before}" if outcome.before else "no version yet"
    text = "\n".join([f"**Version {outcome.version} as {outcome.alias}?** Now: {replaced}. Why: {why}", "", *lines])
    form = Approval.with_initial_data(description=text)
    try:
        return pause_flow_run(wait_for_input=form, timeout=int(timeout_s), poll_interval=_LOOK_EVERY)
    except FlowPauseTimeout as error:
        raise UserError(
            f"nobody approved within {timeout_s:.0f} s", "start the flow again, or: hummingbird promote"
        ) from error
