"""How calls to models and tools travel: by connections that are kept, and looked at before they are used again.

The pool looks at each of its idle connections whenever a call begins or ends. Its own way to do that is to ask for all
that is known of the socket, and to poll it by gevent, which gives every other greenlet a turn. With a hundred idle
connections that took longer than the run.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from runtime.polling import is_readable_now


class PooledTransport(httpx2.AsyncHTTPTransport):
    """Connects as ``backend`` does, or in the ordinary way. It uses no proxy."""

    def __init__(self, limits: httpx2.Limits, *, backend: httpcore2.AsyncNetworkBackend | None = None) -> None:
        super().__init__(verify=_tls(), limits=limits)
        if not isinstance(self._pool, httpcore2.AsyncConnectionPool):
            raise RuntimeError("this httpx2 has its connection pool elsewhere: the backend would not be used")
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_LookingBackend(backend or httpcore2.AnyIOBackend()),
        )


class _LookingBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, network: httpcore2.AsyncNetworkBackend) -> None:
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return _Stream(await self._network.connect_tcp(host, port, timeout, local_address, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class _Stream(httpcore2.AsyncNetworkStream):
    """A stream that knows its socket."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._socket: Any = stream.get_extra_info("socket")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return self._stream.get_extra_info(info)
        descriptor = self._socket.fileno()
        return descriptor < 0 or is_readable_now(descriptor)


def client_over(
    transport: httpx2.AsyncBaseTransport, *, timeout: httpx2.Timeout, headers: Mapping[str, str] | None = None
) -> httpx2.AsyncClient:
    """A client that follows no redirect, keeps no cookie and reads no proxy variable. It closes the transport."""
    return httpx2.AsyncClient(
        transport=transport,
        timeout=timeout,
        headers=headers,
        follow_redirects=False,
        trust_env=False,
        # A cookie set for one caller must not travel with the calls of another.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Loading the certificates takes tens of milliseconds, so all clients of a worker share them."""
    return httpx2.create_ssl_context()
