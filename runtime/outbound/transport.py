"""How calls to models, tools and files travel: one transport for all of them.

It asks for answers that are not compressed and takes no others, bounds what it reads of each, and keeps its
connections, unless something that nobody asked for is left in them.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore2
import httpx2

from runtime.outbound.bounds import AnswerBounds, bounded
from runtime.outbound.stream import BoundedBackend, BoundedStream


class OutboundTransport(httpx2.AsyncHTTPTransport):
    """Connects as ``backend`` does, or in the ordinary way. It uses no proxy.

    Raises AnswerRefused for an answer that is compressed, and AnswerTooLarge where one exceeds the bounds, at its
    head or while its body is read. An answer that takes too long is an httpx2.ReadTimeout.
    """

    def __init__(
        self, limits: httpx2.Limits, bounds: AnswerBounds, *, backend: httpcore2.AsyncNetworkBackend | None = None
    ) -> None:
        super().__init__(verify=_tls(), limits=limits)
        if not isinstance(self._pool, httpcore2.AsyncConnectionPool):
            raise RuntimeError("this httpx2 has its connection pool elsewhere: the backend would not be used")
        self._bounds = bounds
        self._connections = _Connections(
            ssl_context=_tls(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=BoundedBackend(backend or httpcore2.AnyIOBackend(), bounds),
        )
        self._pool = self._connections

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request."""
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        try:
            stream = response.extensions.get("network_stream")
            if not isinstance(stream, BoundedStream):
                raise httpx2.RemoteProtocolError("the answer changes the protocol, which nobody asked for")
            stream.read_body(response.status_code)
            return bounded(response, self._bounds)
        except BaseException:
            await response.aclose()
            raise

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return all(connection.is_idle() or connection.is_closed() for connection in self._connections.connections)


class _Connections(httpcore2.AsyncConnectionPool):
    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        return _Connection(
            origin=origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=self._keepalive_expiry,
            network_backend=self._network_backend,
        )


class _Connection(httpcore2.AsyncHTTPConnection):
    def has_expired(self) -> bool:
        """Whether it must not be used again: what is left in it would be taken for the answer to the next request."""
        return super().has_expired() or self._has_unread_answer()

    def _has_unread_answer(self) -> bool:
        http = self._connection
        if not isinstance(http, httpcore2.AsyncHTTP11Connection) or not http.is_idle():
            return False
        unread, _ = http._h11_state.trailing_data
        return bool(unread)


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
