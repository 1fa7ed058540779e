"""The :class:`~hummingbird.runlog.RunLog` of a real run: MLflow for the record, the terminal for the person waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hummingbird.runlog import Verdicts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

T = TypeVar("T")
FLUSH_EVERY = 5.0  # seconds; one request per training step would cost more than a small step
BATCH = 1000  # metrics per request, MLflow's own limit
LINE_EVERY = 15.0  # seconds between progress lines where there is no terminal to redraw


class StageLog:
    """Writes to one MLflow run. Metrics are sent in batches; if the server goes away while a stage runs they are
    kept and sent later, because hours of training must not die of a lost chart."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self._waiting: list[Metric] = []
        self._sent_at = time.monotonic()
        self._warned = False
        self._verdicts = Verdicts()

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, step or 0) for name, value in values.items()]
        if time.monotonic() - self._sent_at > FLUSH_EVERY:
            self.flush()

    def image(self, key: str, image: Any, step: int | None = None) -> None:
        self._attempt(lambda: self.client.log_image(self.run_id, image, key=key, step=step or 0))

    def artifact(self, path: Path) -> None:
        if path.is_dir():
            self._attempt(lambda: self.client.log_artifacts(self.run_id, str(path), artifact_path=path.name))
        else:
            self._attempt(lambda: self.client.log_artifact(self.run_id, str(path)))

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        if total is None and isinstance(items, Sized):
            total = len(items)
        self._verdicts.clear()
        if sys.stderr.isatty():
            from tqdm import tqdm

            with tqdm(items, desc=description, total=total, dynamic_ncols=True) as bar:
                for item in bar:
                    yield item
                    bar.set_postfix_str(str(self._verdicts), refresh=False)
        else:
            yield from _progress_lines(items, description, total, self._verdicts)

    def verdict(self, reason: str, clips: int = 1) -> None:
        self._verdicts.add(reason, clips)

    def flush(self) -> None:
        """Send the metrics that wait."""
        while self._waiting and self._attempt(
            lambda: self.client.log_batch(self.run_id, metrics=self._waiting[:BATCH])
        ):
            del self._waiting[:BATCH]
        self._sent_at = time.monotonic()

    def _attempt(self, send: Any) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            send()
        except (MlflowException, OSError) as error:
            if not self._warned:
                print(f"warning: MLflow did not take a record of this run: {error}", file=sys.stderr)
            self._warned = True
            return False
        return True


def _progress_lines(items: Iterable[T], description: str, total: int | None, verdicts: Verdicts) -> Iterator[T]:
    start = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_EVERY:
            last = now
            print(_line(description, count, total, now - start, verdicts), file=sys.stderr, flush=True)
    print(_line(description, count, total, time.monotonic() - start, verdicts), file=sys.stderr, flush=True)


def _line(description: str, count: int, total: int | None, seconds: float, verdicts: Verdicts) -> str:
    counted = f"; {verdicts}" if verdicts else ""
    if not total:
        return f"{description}: {count} in {seconds:.0f} s{counted}"
    left = seconds / max(count, 1) * (total - count)
    return f"{description}: {count}/{total} ({count / total:.0%}), {seconds:.0f} s, {left:.0f} s left{counted}"
