"""Any endpoint that speaks OpenAI's chat completions, e.g. vLLM: many requests at a time, each tried again where that
may help.

The key is read from the environment (:data:`KEY_VARIABLE`) and goes nowhere but into the request's header. Redirects
are not followed.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event
from typing import Any

import httpx

from hummingbird.data.recaption.cache import Answer
from hummingbird.data.recaption.prompt import Messages
from hummingbird.errors import UserError

KEY_VARIABLE = "HUMMINGBIRD_RECAPTION_KEY"

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
_LARGEST = 2**20  # bytes of a response; an answer has some hundred
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_RETRY_AFTER_S = 1.0, 60.0, 300.0


class _TryAgainError(Exception):
    """A request failed in a way that may pass. ``problem``: `code: detail`; ``after``: seconds the server asked for."""

    def __init__(self, problem: str, after: float | None = None) -> None:
        super().__init__(problem)
        self.problem, self.after = problem, after


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to ask.

    Attributes:
        address: base address with the version, e.g. ``http://127.0.0.1:8000/v1``.
        model: the model's name there.
        concurrency: requests at a time.
        timeout_s: for a whole response.
        tries: of one request.
    """

    address: str
    model: str
    max_new_tokens: int
    concurrency: int
    timeout_s: float
    tries: int


class OpenAIBackend:
    """Asks an endpoint, greedily (temperature 0).

    A request that fails again and again leaves a problem in place of an answer. When so many in a row fail that the
    endpoint itself must be down, the run ends; what came before is in the cache.

    Raises:
        UserError: the address is none, the endpoint refuses the key, does not know the model, or is down.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        url = httpx.URL(endpoint.address)
        if url.scheme not in ("http", "https") or not url.host:
            raise UserError(
                f"recaption.endpoint {endpoint.address!r} is no http address",
                "give the base address with its version, e.g. http://127.0.0.1:8000/v1",
            )
        self.endpoint = endpoint
        self.identity = f"openai {endpoint.model} temperature 0 {endpoint.max_new_tokens}"
        self._stop = Event()

    def answers(self, prompts: Sequence[Messages]) -> Iterator[tuple[int, Answer]]:
        in_a_row, most = 0, 2 * self.endpoint.concurrency + 6
        self._stop.clear()
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        with self._client() as client:
            try:
                futures = {pool.submit(self._ask, client, prompt): n for n, prompt in enumerate(prompts)}
                for future in as_completed(futures):
                    answer = future.result()
                    in_a_row = in_a_row + 1 if answer.problem and not answer.final else 0
                    if in_a_row >= most:
                        raise UserError(
                            f"{in_a_row} requests in a row to {self.endpoint.address} failed: {answer.problem}",
                            "look at the server, then run again: what it has answered is kept",
                        )
                    yield futures[future], answer
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _client(self) -> httpx.Client:
        key = os.environ.get(KEY_VARIABLE)
        limits = httpx.Limits(max_connections=self.endpoint.concurrency)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(timeout=self.endpoint.timeout_s, limits=limits, headers=headers)

    def _ask(self, client: httpx.Client, prompt: Messages) -> Answer:
        """One answer, by as many tries as it takes and is allowed."""
        problem = ""
        for attempt in range(self.endpoint.tries):
            try:
                return self._try(client, prompt)
            except _TryAgainError as error:
                problem = error.problem
                pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1.0)
                if error.after is not None:
                    pause = max(pause, min(error.after, _LONGEST_RETRY_AFTER_S))
            if attempt + 1 == self.endpoint.tries or self._stop.wait(pause):
                break
        return Answer("", problem, final=False)

    def _try(self, client: httpx.Client, prompt: Messages) -> Answer:
        request = {
            "model": self.endpoint.model,
            "messages": [{"role": role, "content": content} for role, content in prompt],
            "temperature": 0,
            "max_tokens": self.endpoint.max_new_tokens,
        }
        url = f"{self.endpoint.address.rstrip('/')}/chat/completions"
        try:
            with client.stream("POST", url, json=request) as response:
                body = _read(response, time.monotonic() + self.endpoint.timeout_s)
        except httpx.TimeoutException as error:
            raise _TryAgainError(f"timeout: {self.endpoint.timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _TryAgainError(f"unreachable: {error or type(error).__name__}") from error
        if response.status_code in _RETRIED:
            raise _TryAgainError(f"http_{response.status_code}", _retry_after(response.headers.get("Retry-After")))
        if response.status_code in (401, 403):
            raise UserError(
                f"{self.endpoint.address} refuses access (HTTP {response.status_code})",
                f"set {KEY_VARIABLE} in the environment to a key that it takes",
            )
        if response.status_code == 404:
            raise UserError(
                f"{url} does not know the model {self.endpoint.model!r}, or the address is wrong (HTTP 404)",
                f"mend recaption.endpoint and recaption.model; GET {self.endpoint.address}/models lists its models",
            )
        if response.status_code != 200:  # this request is not to its taste: too long, filtered
            return Answer("", f"http_{response.status_code}", final=False)
        return _parse(body)


def _read(response: httpx.Response, deadline: float) -> bytes:
    """The body, of bounded size and time."""
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _LARGEST:
            raise _TryAgainError(f"bad_response: more than {_LARGEST} bytes")
        if time.monotonic() > deadline:
            raise _TryAgainError("timeout: the response did not end")
    return body


def _parse(body: bytes) -> Answer:
    try:
        choice: dict[str, Any] = json.loads(body)["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise _TryAgainError(f"bad_response: {type(error).__name__}") from error
    if text is None:  # some servers say nothing so
        text = ""
    if not isinstance(text, str):
        raise _TryAgainError("bad_response: the content is no text")
    return Answer(text, "cut_off" if choice.get("finish_reason") == "length" else "")


def _retry_after(value: str | None) -> float | None:
    """Seconds from a ``Retry-After`` header: a number, or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value)) if value.strip().isdigit() else _until(value)
    except (ValueError, TypeError):
        return None


def _until(date: str) -> float:
    return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - time.time())
