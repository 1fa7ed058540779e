from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import guard
from flows.repro import grace
from hummingbird.errors import UserError

SLEEPER = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"


def start(folder: Path, *command: str, grace: float = 60) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", guard.__file__, str(grace), *command]
    return subprocess.Popen(words, cwd=folder, stdin=subprocess.PIPE)


def started(folder: Path) -> psutil.Process:
    """The process that wrote its number into ``pid``."""
    deadline = time.monotonic() + 120
    path = folder / "pid"
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return psutil.Process(int(path.read_text()))


def is_gone(process: psutil.Process) -> bool:
    return not psutil.wait_procs([process], timeout=60)[1]


def test_it_ends_as_the_command_does(tmp_path: Path) -> None:
    assert start(tmp_path, sys.executable, "-c", "raise SystemExit(2)").wait(60) == 2
    assert start(tmp_path, "sh", "-c", "kill -9 $$").wait(60) == 128 + 9


def test_nothing_outlives_the_one_who_started_it(tmp_path: Path) -> None:
    process = start(tmp_path, sys.executable, "-c", SLEEPER)
    sleeper = started(tmp_path)
    assert process.stdin is not None
    process.stdin.close()  # as when the process that holds it is killed
    assert process.wait(60) == 128 + 15
    assert is_gone(sleeper)


def test_nothing_outlives_a_guard_that_is_asked_to_stop(tmp_path: Path) -> None:
    process = start(tmp_path, sys.executable, "-c", SLEEPER)
    sleeper = started(tmp_path)
    process.terminate()
    assert process.wait(60) == 128 + 15
    assert is_gone(sleeper)


def test_nothing_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    parent = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); os.wait()"
    process = start(tmp_path, sys.executable, "-c", parent)
    sleeper = started(tmp_path)
    sleeper.parent().kill()  # type: ignore[union-attr]
    assert process.wait(60) == 128 + 9
    assert is_gone(sleeper)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell who is left of a session")
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_nothing_outlives_it_in_a_session_of_its_own(tmp_path: Path, how: str) -> None:
    """As the workers of torchrun, also of one that was killed, and so does not end them."""
    passes_nothing_on = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit())"
    child = f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
    process = start(
        tmp_path, sys.executable, "-c", f"{passes_nothing_on}; import os, subprocess, sys; {child}; os.wait()"
    )
    sleeper = started(tmp_path)
    if how == "stopped":
        process.terminate()
    else:
        sleeper.parent().kill()  # type: ignore[union-attr]
    assert process.wait(60) == (0 if how == "stopped" else 128 + 9)
    assert is_gone(sleeper)


def test_a_stage_is_asked_once_so_that_it_can_save_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "stage.py").write_text(
        "import os, signal, time\n"
        "asked = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: asked.append(1))\n"
        "open('pid', 'w').write(str(os.getpid()))\n"
        "while not asked: time.sleep(0.05)\n"
        "time.sleep(3)\n"
        "open('asked', 'w').write(str(len(asked)))\n"
    )
    dies_soon = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), exit(1)))\n"
        "subprocess.Popen([sys.executable, 'stage.py'])\n"
        "os.wait()"
    )
    process = start(tmp_path, sys.executable, "-c", dies_soon)
    stage = started(tmp_path)
    process.terminate()
    assert process.wait(60) == 1
    assert is_gone(stage)
    assert (tmp_path / "asked").read_text() == "1"


def test_what_does_not_listen_is_killed(tmp_path: Path) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
    process = start(tmp_path, sys.executable, "-c", deaf, grace=0.5)
    sleeper = started(tmp_path)
    process.terminate()
    assert process.wait(60) == 128 + 9
    assert is_gone(sleeper)


@pytest.mark.parametrize("wrong", ["soon", "-1", "nan"])
def test_a_time_of_grace_that_is_none_is_explained(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("HUMMINGBIRD_GRACE", wrong)
    with pytest.raises(UserError, match=r"HUMMINGBIRD_GRACE is .* no number of seconds"):
        grace()
    monkeypatch.setenv("HUMMINGBIRD_GRACE", "0.5")
    assert grace() == 0.5
