"""The :class:`~hummingbird.runlog.RunLog` of a real run: MLflow for the record, the terminal for the person waiting."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hummingbird.errors import UserError
from hummingbird.runlog import Verdicts

if TYPE_CHECKING:
    from hummingbird.ops.recording import Recording

T = TypeVar("T")
LINE_EVERY = 15.0  # seconds between progress lines where there is no terminal to redraw


class StageLog:
    """Records to one MLflow run, through the outbox: nothing here waits for the server, or fails because of it."""

    def __init__(self, run: Recording) -> None:
        self.run = run
        self._verdicts = Verdicts()

    @property
    def run_id(self) -> str | None:
        """Id of the run in MLflow; None as long as MLflow has not heard of it."""
        return self.run.run_id

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        now = int(time.time() * 1000)
        rows = [[name, float(value), now, step or 0] for name, value in values.items()]
        self.run.say({"metrics": rows}, durable=False)  # a disk may take longer to make it so than a step lasts

    def image(self, key: str, image: Any, step: int | None = None) -> None:
        from hummingbird.ops.pictures import write_image

        with self._own_folder(f"{key}, step {step or 0}") as folder:
            for file in write_image(folder, key, image, step or 0):
                self.run.keep(file, f"images/{file.name}")
        self.run.say({"tags": {"mlflow.loggedImages": "True"}})

    def video(self, name: str, frames: Any, fps: float) -> None:
        from hummingbird.data.video_io import write_mp4

        with self._own_folder(f"{name}.mp4") as folder:
            write_mp4(folder / "video.mp4", frames, fps)
            self.run.keep(folder / "video.mp4", f"{name}.mp4")

    def artifact(self, path: Path) -> None:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    self.run.keep(file, file.relative_to(path.parent).as_posix())
        else:
            self.run.keep(path, path.name)

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

    @contextmanager
    def _own_folder(self, name: str) -> Iterator[Path]:
        """A folder for a moment. If the disk does not take what is written to it, the run goes on without ``name``."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder)
        except (OSError, UserError) as error:
            self.run.drop(name, error)


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
