"""The HTTP side of the plugin daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import StrEnum
from urllib.parse import quote

import anyio
import httpx2
from pydantic import SecretStr

from runtime.llm.plugin_daemon.body import BodyReader
from runtime.llm.plugin_daemon.failures import Failures
from runtime.outbound.bounds import AnswerBounds
from runtime.outbound.transport import OutboundTransport, client_over

MAX_ERROR_BYTES = 1 << 20
"""How much of the body of a refusal is read."""


BOUNDS = AnswerBounds(success_bytes=256 << 20, other_bytes=16 << 20, seconds=None, read_bytes=64 << 10)
"""The daemon is the operator's own: what its answers may take in time, the read timeout says."""


class CallKind(StrEnum):
    """What the daemon is called for, by its name in the address."""

    MODEL = "llm"
    TOOL = "tool"


class PluginDaemonClient:
    """Calls models and tools through the plugin daemon. One per worker, shared by all runs on the worker's loop.

    Times are seconds. A connect, read, write or pool timeout of 0 means no limit, since a call that may take no time
    at all could never succeed. ``max_connections`` bounds the open model streams, and likewise the open tool calls,
    so that slow tools keep no model waiting. Further calls wait for their turn, for ever when ``pool_timeout`` is
    None, and in the order in which they came. A ``keepalive_expiry`` of 0 means that no connection is used twice.
    Proxy variables of the environment are ignored.

    Opens nothing before the first call. Must be closed with ``aclose``, after the last run has ended.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr,
        connect_timeout: float,
        read_timeout: float,
        write_timeout: float,
        pool_timeout: float | None,
        max_connections: int,
        max_keepalive_connections: int,
        keepalive_expiry: float,
        merges_text: bool = False,
    ) -> None:
        self.merges_text = merges_text
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._timeout = httpx2.Timeout(
            connect=connect_timeout or None,
            read=read_timeout or None,
            write=write_timeout or None,
            # The wait for a turn comes before, so the pool always has a connection to give.
            pool=None,
        )
        self._limits = httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_expiry,
        )
        self._turn_timeout = pool_timeout or None
        self._turns = {kind: asyncio.Semaphore(max_connections) for kind in CallKind}
        self._http: httpx2.AsyncClient | None = None
        self._closed = False

    @property
    def base_url(self) -> str:
        """The daemon's address, without a trailing slash."""
        return self._base_url

    @property
    def api_key(self) -> SecretStr:
        """The key that the daemon knows this server by."""
        return self._api_key

    async def aclose(self) -> None:
        """Close all connections. No call may follow."""
        self._closed = True
        if self._http is not None:
            await self._http.aclose()

    def invoke_llm(
        self, *, tenant_id: str, plugin_id: str, body: bytes, failures: Failures
    ) -> AbstractAsyncContextManager[BodyReader]:
        """Call a model and read its stream; the connection is closed at once when the context is left early.

        Raises an error of ``failures`` when the call does not get its turn or its answer.
        """
        return self._invoke(CallKind.MODEL, tenant_id, plugin_id, body, failures)

    def invoke_tool(
        self, *, tenant_id: str, plugin_id: str, body: bytes, failures: Failures
    ) -> AbstractAsyncContextManager[BodyReader]:
        """Call a tool and read its stream; otherwise like ``invoke_llm``."""
        return self._invoke(CallKind.TOOL, tenant_id, plugin_id, body, failures)

    @asynccontextmanager
    async def _invoke(
        self, kind: CallKind, tenant_id: str, plugin_id: str, body: bytes, failures: Failures
    ) -> AsyncGenerator[BodyReader]:
        async with self._turn(kind, failures):
            response = await self._send(kind, tenant_id, plugin_id, body, failures)
            try:
                if response.status_code != httpx2.codes.OK:
                    raise failures.refused(response.status_code, await _error_body(response), response.headers)
                reader = BodyReader(response)
                try:
                    yield reader
                finally:
                    await reader.aclose()
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()

    @asynccontextmanager
    async def _turn(self, kind: CallKind, failures: Failures) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(self._turn_timeout):
                await self._turns[kind].acquire()
        except TimeoutError:
            in_use = "model streams" if kind is CallKind.MODEL else "tool calls"
            raise failures.timed_out(
                f"all {in_use} of this worker were in use for {self._turn_timeout:g} seconds", "pool"
            ) from None
        try:
            yield
        finally:
            self._turns[kind].release()

    async def _send(
        self, kind: CallKind, tenant_id: str, plugin_id: str, body: bytes, failures: Failures
    ) -> httpx2.Response:
        http = self._open_http()
        request = http.build_request(
            "POST",
            f"{self._base_url}/plugin/{quote(tenant_id, safe='')}/dispatch/{kind}/invoke",
            content=body,
            headers={
                "X-Api-Key": self._api_key.get_secret_value(),
                "X-Plugin-ID": plugin_id,
                "Content-Type": "application/json",
                "Accept": "text/event-stream",
            },
        )
        try:
            return await http.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise failures.broken(error, answered=False) from error

    def _open_http(self) -> httpx2.AsyncClient:
        if self._closed:
            raise RuntimeError("the plugin daemon client is closed")
        if self._http is None:
            self._http = client_over(OutboundTransport(self._limits, BOUNDS), timeout=self._timeout)
        return self._http


async def _error_body(response: httpx2.Response) -> bytes:
    """The body of a refusal, as far as it came: its status alone says enough."""
    body = bytearray()
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) >= MAX_ERROR_BYTES:
                break
    except httpx2.HTTPError:
        return b""
    return bytes(body)
