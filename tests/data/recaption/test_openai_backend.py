"""What an endpoint may do: answer well, slowly, with garbage or not at all."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from hummingbird.data.recaption import openai_backend
from hummingbird.data.recaption.cache import Answer
from hummingbird.data.recaption.openai_backend import KEY_VARIABLE, Endpoint, OpenAIBackend
from hummingbird.data.recaption.prompt import conversation
from hummingbird.errors import UserError

Response = tuple[int, dict[str, str], bytes]


def good(text: object, finish: str = "stop") -> Response:
    body = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}
    return 200, {}, json.dumps(body).encode()


def status(code: int, **headers: str) -> Response:
    return code, {name.replace("_", "-"): value for name, value in headers.items()}, b"{}"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is waited between tries, without the waiting."""
    waited: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return self.is_set()

    monkeypatch.setattr(openai_backend, "Event", Stop)
    return waited


@pytest.fixture
def ask(server: Any, pauses: list[float]) -> Callable[..., dict[str, Answer]]:
    def ask(*captions: str, tries: int = 3, timeout_s: float = 5.0) -> dict[str, Answer]:
        endpoint = Endpoint(server.address, "llama", 77, concurrency=4, timeout_s=timeout_s, tries=tries)
        found = dict(OpenAIBackend(endpoint).answers([conversation(caption) for caption in captions]))
        return {caption: found[number] for number, caption in enumerate(captions)}

    return ask


def test_good_answers_come_several_at_a_time(server: Any, ask: Callable[..., dict[str, Answer]]) -> None:
    server.delay_s = 0.2
    captions = [f"ring {letter}" for letter in "abcdefgh"]
    found = ask(*captions)
    assert found == {caption: Answer(f"A {caption}.") for caption in captions}
    assert server.most_busy == 4
    path, request, headers = server.requests[0]
    assert path == "/v1/chat/completions"
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("llama", 0, 77)
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert "Authorization" not in headers


def test_the_key_comes_from_the_environment(
    server: Any, ask: Callable[..., dict[str, Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    ask("ring")
    assert server.requests[0][2]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "failure",
    [status(429), status(500), status(503), (200, {}, b"{nonsense"), (200, {}, b'{"choices": []}'), (200, {}, b"[]"),
     (200, {}, b'{"choices": [{"message": null}]}'), good(5), (200, {}, b"x" * (2**20 + 1)),
     (200, {}, b"[" * 100_000)],
    ids=["429", "500", "503", "cut", "none", "list", "null", "number", "endless", "deep"],
)  # fmt: skip
def test_what_may_pass_is_tried_again(
    server: Any,
    ask: Callable[..., dict[str, Answer]],
    pauses: list[float],
    failure: Response,
) -> None:
    server.script["ring"] = [failure, failure, good("A ring.")]
    assert ask("ring") == {"ring": Answer("A ring.")}
    assert len(server.requests) == 3
    assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2


def test_a_failure_that_stays_is_said_and_stops_nothing(server: Any, ask: Callable[..., dict[str, Answer]]) -> None:
    server.script |= {"bad": [status(500)], "odd": [status(400)], "mad": [(200, {}, b"?")]}
    found = ask("bad", "ring", "odd", "mad")
    assert found["ring"] == Answer("A ring.")
    assert found["bad"] == Answer("", "http_500", final=False)
    assert found["odd"] == Answer("", "http_400", final=False)
    assert found["mad"] == Answer("", "bad_response: JSONDecodeError", final=False)
    assert len(server.requests) == 3 + 1 + 1 + 3


def test_the_server_says_how_long_to_wait(
    server: Any, ask: Callable[..., dict[str, Answer]], pauses: list[float]
) -> None:
    later = email.utils.formatdate(time.time() + 100, usegmt=True)
    server.script["ring"] = [
        status(429, Retry_After="7"), status(429, Retry_After=later), status(429, Retry_After="1e9"),
        status(429, Retry_After="99999"), status(429, Retry_After="soon"), good("A ring."),
    ]  # fmt: skip
    assert ask("ring", tries=6) == {"ring": Answer("A ring.")}
    assert pauses[0] == 7
    assert 90 < pauses[1] <= 100
    assert pauses[2] <= 4
    assert pauses[3] == 300
    assert pauses[4] <= 16


def test_a_slow_answer_is_given_up(server: Any, ask: Callable[..., dict[str, Answer]]) -> None:
    server.delay_s = 1.0
    assert ask("ring", tries=1, timeout_s=0.2) == {"ring": Answer("", "timeout: 0.2 s", final=False)}


def test_an_answer_that_was_cut_off_or_is_nothing_is_final(server: Any, ask: Callable[..., dict[str, Answer]]) -> None:
    server.script |= {"ring": [good("A ring that", "length")], "box": [good(None)]}
    assert ask("ring", "box") == {"ring": Answer("A ring that", "cut_off"), "box": Answer("")}


def test_a_server_that_is_down_ends_the_run(server: Any, ask: Callable[..., dict[str, Answer]]) -> None:
    captions = [f"ring {number}" for number in range(40)]
    server.script |= {caption: [status(503)] for caption in captions}
    with pytest.raises(UserError, match=r"14 requests in a row .* failed: http_503"):
        ask(*captions, tries=1)
    assert len(server.requests) < 40


@pytest.mark.parametrize(
    ("code", "message"), [(401, KEY_VARIABLE), (403, KEY_VARIABLE), (404, "does not know the model")]
)
def test_mistakes_of_the_user_are_explained(
    server: Any, ask: Callable[..., dict[str, Answer]], code: int, message: str
) -> None:
    server.script["ring"] = [status(code)]
    with pytest.raises(UserError, match=message):
        ask("ring")
    assert len(server.requests) == 1


def test_redirects_are_not_followed(server: Any, ask: Callable[..., dict[str, Answer]]) -> None:
    server.script["ring"] = [status(307, Location="http://127.0.0.1:1/elsewhere")]
    assert ask("ring") == {"ring": Answer("", "http_307", final=False)}


def test_nobody_listens() -> None:
    endpoint = Endpoint("http://127.0.0.1:9/v1", "llama", 77, concurrency=1, timeout_s=1, tries=1)
    [(_, answer)] = OpenAIBackend(endpoint).answers([conversation("ring")])
    assert answer.problem.startswith("unreachable: ")
    with pytest.raises(UserError, match="is no http address"):
        OpenAIBackend(Endpoint("file:///etc", "llama", 77, 1, 1, 1))
