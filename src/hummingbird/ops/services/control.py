"""Starts, stops and looks at the services."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hummingbird.errors import UserError, did_you_mean
from hummingbird.ops.services.processes import end, kill_remains, listens, start
from hummingbird.ops.services.servers import NAMES, Recipe, Service, client_environment, services, settle
from hummingbird.ops.services.site import Site

START_SECONDS = 900.0  # for a first start, which makes databases, on a busy machine; a server that ends is seen at once
HUNG_SECONDS = 15.0  # a running server that does not answer for so long is replaced
PAUSE = 0.3  # seconds between two looks
RETRY_PAUSE = 2.0  # seconds before another attempt at a server that died while it started


@dataclass(frozen=True)
class Report:
    """State of one service: ``working``, ``silent`` (runs, does not answer), ``died`` or ``stopped``."""

    name: str
    state: str
    address: str
    pid: int | None
    log: Path


def start_services(site: Site, names: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
    """Start the named services (none: all) and what they need; those that work already are left alone.

    Raises:
        UserError: an unknown name, a missing program, or a server that does not come up (with the end of its log).
    """
    _check_names(names)
    with site.locked():
        _end_remains(site)
        settle(site)
        every = services(site)
        left = {service.name: service for service in _with_needs(every, names)}
        while left:
            ready = [service for service in left.values() if not left.keys() & set(service.needs)]
            _start_together(site, ready, say)
            for service in ready:
                del left[service.name]


def stop_services(site: Site, names: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
    """Stop the named services (none: all) that were started here, and all that they started.

    Raises:
        UserError: an unknown name.
    """
    _check_names(names)
    if not site.state_path.exists():
        say("nothing was started here")
        return
    with site.locked():
        every = services(site)
        for service in reversed(_named(every, names)):
            started = site.started(service.name)
            if started is None:
                continue
            was_alive = started.process() is not None
            end(started, service.stop_signal)
            site.forget(service.name)
            say(f"{service.name}: {'stopped' if was_alive else 'was dead already'}")


def report(site: Site) -> list[Report]:
    """The state of every service; nothing is started or changed."""
    if not site.state_path.exists():
        return [Report(name, "stopped", "-", None, site.log(name)) for name in NAMES]
    reports = []
    for service in services(site).values():
        started = site.started(service.name)
        if started is None:
            state = "stopped"
        elif started.process() is None:
            state = "died"
        else:
            state = "working" if _is_it(site, service) else "silent"
        pid = None if started is None else started.pid
        reports.append(Report(service.name, state, service.address, pid, site.log(service.name)))
    return reports


def exports(site: Site) -> str:
    """Lines for a shell that make programs use the services.

    Raises:
        UserError: none is running.
    """
    if not any(site.is_running(name) for name in NAMES):
        raise UserError("no service of this project is running", "start them: hummingbird services start")
    values = client_environment(site).items()
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values)


def _end_remains(site: Site) -> None:
    """End what a dead server left behind, which may hold its port, before ports are chosen."""
    for name in NAMES:
        started = site.started(name)
        if started is not None and started.process() is None:
            kill_remains(started)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in NAMES:
            raise UserError(f"there is no service {name!r}", did_you_mean(name, NAMES))


def _named(every: dict[str, Service], names: Sequence[str]) -> list[Service]:
    """The named services in the order of ``every``; none named: all."""
    return [service for name, service in every.items() if not names or name in names]


def _with_needs(every: dict[str, Service], names: Sequence[str]) -> list[Service]:
    wanted = {service.name for service in _named(every, names)}
    for service in reversed(every.values()):
        if service.name in wanted:
            wanted |= set(service.needs)
    return [service for service in every.values() if service.name in wanted]


def _start_together(site: Site, group: Sequence[Service], say: Callable[[str], None]) -> None:
    """Start services that do not need each other, side by side, and wait until all work."""
    recipes = {service.name: service.recipe() for service in group}  # a missing program shows before any start
    begun = {}
    for service in group:
        if _is_fine(site, service, recipes[service.name]):
            say(f"{service.name}: works already, {service.address}")
            continue
        begun[service.name] = time.monotonic()
        _replace(site, service, recipes[service.name])
    if begun:
        say(f"starting {', '.join(begun)} ...")
    for service in group:
        if service.name not in begun:
            continue
        _await(site, service, recipes[service.name])
        if service.after:
            service.after()
        say(f"{service.name}: started in {time.monotonic() - begun[service.name]:.1f} s, {service.address}")


def _is_fine(site: Site, service: Service, recipe: Recipe) -> bool:
    """Whether the service runs, by this recipe, and answers."""
    if not site.is_running(service.name) or site.state(service.name).get("recipe") != _digest(recipe):
        return False
    deadline = time.monotonic() + HUNG_SECONDS
    while not _is_it(site, service):
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True


def _replace(site: Site, service: Service, recipe: Recipe) -> None:
    """Start the service, after the end of what is left of its last process."""
    if (old := site.started(service.name)) is not None:
        end(old, service.stop_signal)
    if service.before:
        service.before()
        recipe = service.recipe()
    started = start(recipe.command, recipe.environment, site.root.absolute(), site.log(service.name), service.user)
    site.remember(service.name, **asdict(started), recipe=_digest(recipe))


def _await(site: Site, service: Service, recipe: Recipe) -> None:
    """Wait until the service works.

    Raises:
        UserError: it ended, or it does not answer in :data:`START_SECONDS`.
    """
    deadline, attempts = time.monotonic() + START_SECONDS, service.attempts
    while not _is_it(site, service):
        running = site.is_running(service.name)
        if not running and attempts > 1:
            attempts -= 1
            time.sleep(RETRY_PAUSE)
            _replace(site, service, recipe)
        elif not running or time.monotonic() > deadline:
            what = f"does not answer after {START_SECONDS:.0f} s" if running else "ended while it started"
            raise UserError(
                f"{service.name} {what}. The end of {site.log(service.name)}:\n{_tail(site.log(service.name))}",
                f"put right what it says, then: hummingbird services start {service.name}",
            )
        time.sleep(PAUSE)


def _is_it(site: Site, service: Service) -> bool:
    """Whether the service works, and what answers is the process that was started: a server takes long to start, and
    another project's may have taken the port meanwhile."""
    started = site.started(service.name)
    if started is None or not service.works():
        return False
    return service.port is None or listens(started, service.port)


def _digest(recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps([recipe.command, dict(recipe.settings)], sort_keys=True).encode()).hexdigest()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(empty)"
