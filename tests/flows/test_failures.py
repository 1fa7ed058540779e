from __future__ import annotations

from uuid import uuid4

import httpx
import pytest
from prefect import task
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed

from flows.failures import BusyError, KilledError, LostError, OverdueError, StageError, failure
from flows.tasks import is_worth_another_try


def dvc_says(status: int) -> str:
    return f"ERROR: failed to reproduce 'a': failed to run: hummingbird stage a, exited with {status}"


@pytest.mark.parametrize(
    ("code", "tail", "kind", "said"),
    [
        (255, ["ERROR: Unable to acquire lock. Most likely another DVC process is running"], BusyError, "at work"),
        (255, ["ERROR: 'data' is busy, it is being blocked by:"], BusyError, "at work"),
        (255, ["error: no table clips.parquet", dvc_says(2)], StageError, "failed: no table clips.parquet"),
        (255, ["error: S3 timed out", "ConnectionError: timed out", dvc_says(2)], StageError, "S3 timed out"),
        (255, ["the GPU is busy", "error: no table clips.parquet", dvc_says(2)], StageError, "no table clips.parquet"),
        (255, ["ERROR: port 80 is busy", "ValueError: no clips", dvc_says(1)], StageError, "ValueError: no clips"),
        (255, ["the GPU is busy", "ERROR: failed to read 'dvc.yaml'"], StageError, "failed to read 'dvc.yaml'"),
        (255, [dvc_says(-9)], KilledError, "was killed"),
        (255, [dvc_says(137)], KilledError, "was killed"),
        (137, [], KilledError, "was killed"),
        (255, ["requests.exceptions.ConnectionError: HTTPConnectionPool", dvc_says(1)], LostError, "lost a connection"),
        (255, ["ConnectionResetError: [Errno 104] Connection reset by peer", dvc_says(1)], LostError, "reset by peer"),
        (255, ["TimeoutError: timed out", dvc_says(1)], LostError, "timed out"),
        (
            255,
            ["botocore.exceptions.ClientError: An error (503) when calling PutObject", dvc_says(1)],
            LostError,
            "503",
        ),
        (255, ["ERROR: failed to connect to s3 - [Errno 111] Connection refused"], LostError, "refused"),
        (255, ["clip 7: timed out", "ValueError: no clips", dvc_says(1)], StageError, "ValueError: no clips"),
        (
            255,
            ["botocore.exceptions.ClientError: An error (403) when calling PutObject", dvc_says(1)],
            StageError,
            "403",
        ),
        (255, [dvc_says(1)], StageError, "stage a failed; what it said"),
    ],
)
def test_the_cause_is_told_and_its_kind_known(code: int, tail: list[str], kind: type[StageError], said: str) -> None:
    error = failure("a", code, tail)
    assert type(error) is kind
    assert said in str(error)


@pytest.mark.parametrize(
    ("error", "runs", "again"),
    [
        (BusyError("x"), 3, True),
        (LostError("x"), 3, True),
        (httpx.ConnectError("x"), 3, True),
        (KilledError("x"), 1, True),
        (KilledError("x"), 2, False),
        (StageError("x"), 1, False),
        (OverdueError("x"), 1, False),
        (ValueError("x"), 1, False),
    ],
)
def test_only_what_may_be_gone_is_tried_again(error: Exception, runs: int, again: bool) -> None:
    run = TaskRun(task_key="a", dynamic_key="a", flow_run_id=uuid4(), run_count=runs)
    assert is_worth_another_try(task(lambda: None), run, Failed(data=error)) is again
