"""What the machine does while a stage runs: processor, memory, disk, network and GPU, as MLflow's own monitors measure
them. They are recorded as any metric is, so they outlast a server that is away, which ends MLflow's own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

EVERY = 10.0  # seconds


@contextmanager
def watched(say: Callable[[Mapping[str, float], int], None], every: float | None = EVERY) -> Iterator[None]:
    """Measure at the start and the end of the block, and every so many seconds meanwhile.

    Args:
        say: called with the figures, and the number of the measurement.
        every: None = not meanwhile, because the block measures time.
    """
    monitors = _monitors()
    count = 0
    over = threading.Event()

    def measure() -> None:
        nonlocal count
        figures: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            figures |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        say({f"system/{name}": float(value) for name, value in figures.items()}, count)
        count += 1

    def now_and_then(seconds: float) -> None:
        while not over.wait(seconds):
            measure()

    measure()
    thread = threading.Thread(target=now_and_then, args=(every,), name="machine", daemon=True) if every else None
    if thread:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread:
            thread.join()
        measure()


def _monitors() -> list[Any]:
    """One for each part of this machine that can be measured."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    found: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    found[0].collect_metrics()  # its first measurement has nothing to compare with and says 0 %
    found[0].clear_metrics()
    for gpu in (GPUMonitor, ROCMMonitor):
        try:
            return [*found, gpu()]
        except Exception:  # of whatever kind: no such GPU, or no library for it
            continue
    return found
