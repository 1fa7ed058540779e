"""The only way out to the network: looks at every address before connecting, and holds each thread to its time.

Both are done here and not on URLs because here is what really happens: a name is resolved once and the connection goes
to the very address that was looked at, whatever its DNS server says the next time, and after redirects just the same;
and a server that sends a byte now and then, even of its headers, never meets a timeout that counts silence only.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from hummingbird.data.fetching.problems import ProblemError

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291: all of IPv6 that the internet routes to one host
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))  # 6to4 and Teredo lead to IPv4


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: not of this machine, a private or special network, or a group;
    nor one of IPv6 that leads to such an IPv4 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _UNICAST or any(ip in tunnel for tunnel in _TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast


class _Clock(threading.local):
    """When the transfer of this thread must be over (``time.monotonic``)."""

    end: float = float("inf")

    def cap(self, timeout: float | None) -> float | None:
        """``timeout``, or less where less is left.

        Raises:
            httpcore.TimeoutException: nothing is left.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("its time is over")
        return min(left, timeout if timeout is not None else left) if left < float("inf") else timeout


_clock = _Clock()


@contextmanager
def time_limit(seconds: float) -> Iterator[float]:
    """Hold all that this thread does on the network to so many seconds; yields the end."""
    _clock.end = time.monotonic() + seconds
    try:
        yield _clock.end
    finally:
        _clock.end = float("inf")


class _TimedStream(httpcore.NetworkStream):
    """A connection under :func:`time_limit`."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _clock.cap(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _clock.cap(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, _clock.cap(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to public addresses only, unless ``allow_private``."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                return _TimedStream(
                    self._inner.connect_tcp(address, port, _clock.cap(timeout), local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        """All addresses of a host.

        Raises:
            ProblemError: one of them may not be connected to.
            httpcore.ConnectError: it has none.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        refused = [address for address in addresses if not self._allow_private and not is_public(address)]
        if refused:
            raise ProblemError("refused_address", f"{host} is {refused[0]}")
        return addresses
