"""One video on a web server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit, urlunsplit

import httpcore
import httpx

from hummingbird import __version__
from hummingbird.data.fetching.network import GuardedBackend
from hummingbird.data.fetching.problems import PassingError, ProblemError
from hummingbird.params import Fetch
from hummingbird.streams.stream import (
    TRANSIENT,
    Stream,
    extent,
    is_misplaced,
    must_restart,
    range_headers,
    version_of,
)

_HOPS = 5  # redirects that are followed
_NO_VIDEO = ("text/html", "application/xhtml+xml")


class _Transport(httpx.HTTPTransport):
    """httpx's own, but for the way out. Proxies of the environment do not count: what lies behind one could not be
    looked at."""

    def __init__(self, settings: Fetch) -> None:
        super().__init__()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=settings.connections,
            max_keepalive_connections=settings.connections,
            network_backend=GuardedBackend(settings.allow_private),
        )


def web_client(settings: Fetch) -> httpx.Client:
    """The client that all threads share. It keeps no cookies."""
    client = httpx.Client(
        transport=_Transport(settings),
        timeout=httpx.Timeout(settings.timeout_s, pool=None),
        headers={"User-Agent": f"hummingbird/{__version__}", "Accept": "*/*"},
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


@dataclass(frozen=True)
class WebVideo:
    """The video at a URL, as a source that can go on from an offset."""

    location: str
    client: httpx.Client
    schemes: Sequence[str]

    @property
    def address(self) -> str:
        """The URL without user, password and query, which may hold secrets."""
        parts = urlsplit(self.location)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @contextmanager
    def open(self, offset: int, version: str) -> Iterator[Stream]:
        """As :meth:`hummingbird.streams.stream.Source.open`.

        Raises:
            ProblemError: the address, a redirect or the answer is refused.
            PassingError: the transfer broke; also while the stream is read.
        """
        with _explained():
            response = self._get(range_headers(offset, version))
            if must_restart(response, offset, version):
                response.close()
                offset, response = 0, self._get(range_headers(0, ""))
            try:
                yield _stream(response, offset)
            finally:
                response.close()

    def _get(self, headers: dict[str, str]) -> httpx.Response:
        """The answer at the end of all redirects, its body not yet read."""
        request: httpx.Request | None = self.client.build_request("GET", self.location, headers=headers)
        for _ in range(_HOPS + 1):
            assert request is not None  # httpx says where every redirect leads
            self._check(request.url)
            response = self.client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            request = response.next_request
            response.close()
        raise ProblemError("redirects", f"more than {_HOPS}")

    def _check(self, url: httpx.URL) -> None:
        if url.scheme and (url.scheme not in self.schemes or url.scheme not in ("http", "https")):
            raise ProblemError("refused_scheme", url.scheme)
        if not url.scheme or not url.host or not 0 <= (url.port or 0) < 1 << 16:  # a socket would take it modulo 2^16
            raise ProblemError("bad_address", "no host" if not url.host else f"port {url.port}")


def _stream(response: httpx.Response, offset: int) -> Stream:
    """The body of the answer to a request for the bytes from ``offset`` on."""
    code, kind = response.status_code, response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if code in TRANSIENT:
        raise PassingError(f"http_{code}", response.reason_phrase, _retry_after(response))
    if code not in (200, 206):
        raise ProblemError(f"http_{code}", response.reason_phrase)
    if kind in _NO_VIDEO:
        raise ProblemError("not_a_video", kind)
    if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise ProblemError("compressed", f"{coding}, against the request")
    if is_misplaced(response, offset):
        raise ProblemError("broken", "an answer to another range")
    start, total = extent(response)
    return Stream(start, total, version_of(response), response.iter_raw())


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 if it does not (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except httpx.ConnectError as error:
        raise PassingError("unreachable", str(error)) from error
    except httpx.TimeoutException as error:
        raise PassingError("timeout", str(error)) from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise PassingError("broken", str(error) or type(error).__name__) from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise ProblemError("bad_address", str(error)) from error
