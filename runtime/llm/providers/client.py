"""The connections of direct providers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable

import httpx2
from pydantic_core import to_json

from runtime.llm.providers.target import ModelTarget
from runtime.llm.wire.reader import Wire
from runtime.llm.wire.transport import WireTransport
from runtime.outbound.address_guard import guarded_transport
from runtime.outbound.bounds import AnswerBounds
from runtime.outbound.pools import ConnectionPools
from runtime.outbound.transport import OutboundTransport, client_over

BOUNDS = AnswerBounds(success_bytes=256 << 20, other_bytes=1 << 20, seconds=3600)
"""An answer of 128,000 tokens, each in an event of its own, takes about 50 MB; one that thinks hard, half an hour."""


class ProviderClient:
    """One per worker. Opens nothing before the first call; close it after the last run has ended.

    Calls share connections when they are made for the same tenant (or for none) with the same credentials. Times are
    seconds, and 0 means no limit. It has no cap of its own: a worker has at most one call for each of its runs, and
    those are bounded. Private addresses are refused unless ``allow_private``.
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
        self._pools = ConnectionPools(self._new_pool, idle_seconds=keepalive_expiry)

    def http(self, wire: Callable[[], Wire], target: ModelTarget) -> httpx2.AsyncClient:
        """A client for the calls of one run to the target, whose answers are read by this wire.

        It holds nothing that needs to be closed. Raises RuntimeError after ``aclose``, as its calls do.
        """
        return client_over(WireTransport(self._pools.transport(_group(target)), wire), timeout=self._timeout)

    async def aclose(self) -> None:
        """Close all connections. No call may follow."""
        await self._pools.aclose()

    def _new_pool(self) -> OutboundTransport:
        return guarded_transport(allow_private=self._allow_private, bounds=BOUNDS, limits=self._limits)


def _group(target: ModelTarget) -> Hashable:
    """Who may share connections. A digest, since keys are better not kept after their run."""
    headers = (target.settings or {}).get("extra_headers") or {}
    return target.tenant_id, hashlib.sha256(to_json([target.key, sorted(headers.items())])).digest()
