"""Connections of one worker, apart for each group of callers that may share them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable

import httpx2

from runtime.outbound.transport import OutboundTransport

MAX_IDLE_POOLS = 200
"""Beyond it, the pool that has been idle for longest is closed. There are no more pools in use than calls under way."""


CLOSED = "the connection pools are closed"


class ConnectionPools:
    """A pool of connections for each group, made for its first call and closed once it has been idle for so long.

    Belongs to one event loop. ``aclose`` ends it.
    """

    def __init__(self, make: Callable[[], OutboundTransport], *, idle_seconds: float) -> None:
        self._make = make
        self._idle_seconds = max(1.0, idle_seconds)
        self._pools: dict[Hashable, _Pool] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def transport(self, group: Hashable) -> httpx2.AsyncBaseTransport:
        """The way of a group's calls. It costs nothing before the first; closing it closes nothing.

        Raises RuntimeError after ``aclose``, as its calls do.
        """
        if self._closed:
            raise RuntimeError(CLOSED)
        return _GroupTransport(self, group)

    def pool(self, group: Hashable) -> OutboundTransport:
        """The pool of a group, for a call that begins now. Raises RuntimeError after ``aclose``."""
        if self._closed:
            raise RuntimeError(CLOSED)
        pool = self._pools.pop(group, None) or _Pool(self._make())
        pool.used_at = time.monotonic()
        self._pools[group] = pool  # in the order of their last use
        if len(self._pools) > MAX_IDLE_POOLS:
            self._close_idle(but=len(self._pools) - MAX_IDLE_POOLS)
        if self._sweep is None:
            self._plan_sweep()
        return pool.transport

    def __len__(self) -> int:
        return len(self._pools)

    async def aclose(self) -> None:
        """Close all connections. No call may follow."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.transport.aclose()
        if self._closing:
            await asyncio.wait(self._closing)

    def _plan_sweep(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._idle_seconds, self._close_old)

    def _close_old(self) -> None:
        """Close what has been idle for long. A call that has just ended counts from the sweep that finds it idle."""
        self._sweep = None
        now = time.monotonic()
        for group, pool in list(self._pools.items()):
            if not pool.transport.is_idle:
                pool.used_at = now
            elif now - pool.used_at >= self._idle_seconds:
                self._close(group)
        if self._pools:
            self._plan_sweep()

    def _close_idle(self, *, but: int) -> None:
        newest = next(reversed(self._pools))
        idle = [group for group, pool in self._pools.items() if group != newest and pool.transport.is_idle]
        for group in idle[:but]:
            self._close(group)

    def _close(self, group: Hashable) -> None:
        task = asyncio.create_task(self._pools.pop(group).transport.aclose(), name="close-idle-pool")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Pool:
    __slots__ = ("transport", "used_at")

    def __init__(self, transport: OutboundTransport) -> None:
        self.transport = transport
        self.used_at = 0.0


class _GroupTransport(httpx2.AsyncBaseTransport):
    def __init__(self, pools: ConnectionPools, group: Hashable) -> None:
        self._pools = pools
        self._group = group

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request through the group's pool."""
        return await self._pools.pool(self._group).handle_async_request(request)
