"""The connections that all calls of direct providers share."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from runtime.llm.address_guard import guarded_transport
from runtime.llm.transport import client_over
from runtime.llm.wire.reader import Wire
from runtime.llm.wire.transport import WireTransport


class ProviderClient:
    """One per worker. Opens nothing before the first call; close it after the last run has ended.

    Times are seconds, and 0 means no limit. It has no cap of its own: a worker has at most one call for each of its
    runs, and those are bounded. Private addresses are refused unless ``allow_private``.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        connect_timeout: float = 10,
        read_timeout: float = 600,
        write_timeout: float = 30,
        max_keepalive_connections: int = 20,
        keepalive_expiry: float = 30,
    ) -> None:
        self._allow_private = allow_private
        self._timeout = httpx2.Timeout(
            connect=connect_timeout or None, read=read_timeout or None, write=write_timeout or None, pool=None
        )
        self._limits = httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_expiry,
        )
        self._transport: httpx2.AsyncBaseTransport | None = None
        self._clients: dict[Callable[[], Wire], httpx2.AsyncClient] = {}
        self._closed = False

    def http(self, wire: Callable[[], Wire]) -> httpx2.AsyncClient:
        """The client whose answers are read by this wire. Raises RuntimeError after ``aclose``."""
        if self._closed:
            raise RuntimeError("the client of direct providers is closed")
        if self._transport is None:
            self._transport = guarded_transport(allow_private=self._allow_private, limits=self._limits)
        if wire not in self._clients:
            self._clients[wire] = client_over(WireTransport(self._transport, wire), timeout=self._timeout)
        return self._clients[wire]

    async def aclose(self) -> None:
        """Close all connections. No call may follow."""
        self._closed = True
        for client in self._clients.values():
            await client.aclose()
        if self._transport is not None:
            await self._transport.aclose()
