"""One session with one MCP server, for one run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio
from mcp import MCPError
from mcp.client import Client, Transport
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    Tool,
)
from pydantic import TypeAdapter, ValidationError

from runtime.mcp.errors import (
    MAX_TEXT_CHARS,
    SESSION_LOST,
    McpCallFailed,
    McpSessionLost,
    McpUnavailable,
    cause_of,
)
from runtime.mcp.limits import MAX_PAGES

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""For taking leave of the server and, for a command, its end."""

KILL_SECONDS = 1.0
"""For what is left after that, which nothing a server does can hold up."""

LOSS_SECONDS = 0.5
"""Between the first sign of a lost connection and its cause being known."""

CLIENT = Implementation(name="greenrun", version="1")

Connect = Callable[[Callable[[str], None]], Transport]
"""Makes the transport; it is given what to call, with the reason, once the server cannot answer any more."""

_RESULT: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(CallToolResult | InputRequiredResult)


class McpSession:
    """A connection that a task of its own opens, holds and closes.

    The SDK's task groups must be left by the task that entered them, which the tasks of a run cannot promise: its
    tools are called in several, and a cancelled one does not come back. So they only wait for what the holder and
    the calls, which are tasks as well, have to say; no silence of the server outlasts their patience.
    """

    def __init__(self, connect: Connect, *, connect_timeout: float, call_timeout: float) -> None:
        self._transport = connect(self._note_loss)
        self._connect_timeout = connect_timeout
        self._call_timeout = call_timeout
        self._client: Client
        self._holder: asyncio.Task[None]
        self._calls: set[asyncio.Task[CallToolResult | InputRequiredResult]] = set()
        self._listed = asyncio.Event()
        self._tools: list[Tool] = []
        self._leave = asyncio.Event()
        self._is_retired = False
        self._lost = asyncio.Event()
        self._loss: str | None = None
        self._scope = anyio.CancelScope()

    async def open(self) -> list[Tool]:
        """Connect; the server's tools. Raises McpUnavailable, with the reason as its text. Once."""
        self._holder = asyncio.create_task(self._hold())
        self._holder.add_done_callback(_look_at)
        try:
            await self._first_of(self._listed, timeout=self._connect_timeout)
            if self._listed.is_set():
                return self._tools
            if self._is_over():
                raise self._ended()
            raise McpUnavailable(f"it did not answer within {self._connect_timeout:g} seconds")
        finally:
            if not self._listed.is_set():
                self._scope.cancel()
                await self.close()

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool, by the server's name of it.

        Raises McpCallFailed when this call came to nothing, McpSessionLost when the server has refused it because it
        does not know this session, and McpUnavailable when no call can be made any more.
        """
        if self._is_over():
            raise self._ended()
        call = asyncio.create_task(self._request(name, arguments))
        call.add_done_callback(_look_at)
        call.add_done_callback(self._call_ended)
        self._calls.add(call)
        try:
            await self._first_of(self._lost, call, timeout=self._call_timeout)
            error = call.exception() if call.done() and not call.cancelled() else None
            if isinstance(error, MCPError) and error.code == SESSION_LOST:
                raise McpSessionLost(error.message)
            if error is not None and not _is_refusal(error):
                # Perhaps the first sign of a lost server, whose cause is known a moment later.
                await self._first_of(self._lost, timeout=LOSS_SECONDS)
            if self._is_over() and (error is not None or not call.done()):
                raise self._ended()
            if error is not None:
                raise _failure(error) from error
            if not call.done():
                raise McpCallFailed(f"The tool did not answer within {self._call_timeout:g} seconds.")
            return _final(call.result())
        finally:
            call.cancel()

    def retire(self) -> None:
        """Leave the server once no call waits for its answer."""
        self._is_retired = True
        self._leave_when_retired()

    def has_ended(self) -> bool:
        """Whether nothing of an opened session is left."""
        return self._holder.done()

    async def close(self) -> None:
        """Leave the server and end its command. Bounded in time, whatever the server does."""
        self._leave.set()
        try:
            await asyncio.wait({self._holder}, timeout=CLOSE_SECONDS)
        finally:
            # The scope, not the task: in a cancelled scope every further wait ends as well.
            self._scope.cancel()
            for call in self._calls:
                call.cancel()
        left: set[asyncio.Task[Any]] = {self._holder, *self._calls}
        _, left = await asyncio.wait(left, timeout=KILL_SECONDS)
        if left:
            logger.warning("an MCP session left %d tasks behind", len(left))

    async def _hold(self) -> None:
        with self._scope:
            # No cache: a session is as short as a run. No callbacks: a server gets neither model nor user.
            async with Client(self._transport, client_info=CLIENT, cache=None) as client:
                self._client = client
                self._tools = await _all_tools(client)
                self._listed.set()
                await self._leave.wait()

    def _call_ended(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        self._leave_when_retired()

    def _leave_when_retired(self) -> None:
        if self._is_retired and not self._calls:
            self._leave.set()

    async def _request(self, name: str, arguments: dict[str, Any]) -> CallToolResult | InputRequiredResult:
        """The answer as it came.

        Not by the client's own method: that matches results with the server's schema, whose patterns may take for
        ever in C, where nothing can stop them.
        """
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))
        return await self._client.session.send_request(request, _RESULT)

    async def _first_of(self, event: asyncio.Event, *tasks: asyncio.Task[Any], timeout: float) -> None:
        """Wait for the event, one of the tasks, or the end of the session; no longer than the timeout."""
        happened: asyncio.Task[Any] = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({happened, self._holder, *tasks}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            happened.cancel()

    def _note_loss(self, reason: str) -> None:
        if self._loss is None:
            self._loss = reason
            self._lost.set()

    def _is_over(self) -> bool:
        return self._loss is not None or self._holder.done()

    def _ended(self) -> Exception:
        """Why the session is over. An error that nobody foresaw is raised as it is."""
        error = self._holder.exception() if self._holder.done() and not self._holder.cancelled() else None
        cause = cause_of(error) if error is not None else "the connection was closed"
        if error is not None and cause is None:
            raise error
        return McpUnavailable(self._loss or cause or "")


async def _all_tools(client: Client) -> list[Tool]:
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools.extend(page.tools)
        cursor = page.next_cursor
        if cursor is None:
            return tools
    raise RuntimeError(f"the list of tools has more than {MAX_PAGES} pages")


def _final(result: CallToolResult | InputRequiredResult) -> CallToolResult:
    if isinstance(result, InputRequiredResult):
        raise McpCallFailed("The tool asks its user for input, which this run cannot give.")
    return result


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, MCPError) and error.code != CONNECTION_CLOSED


def _failure(error: BaseException) -> McpCallFailed:
    """The failure of one call, for the model. An error that nobody foresaw is raised as it is."""
    match error:
        case MCPError():
            return McpCallFailed(f"The tool's server refused the call: {error.message[:MAX_TEXT_CHARS]}")
        case ValidationError():
            return McpCallFailed("The tool's server sent an answer that is none.")
    raise error


def _look_at(task: asyncio.Task[Any]) -> None:
    """Its error is told elsewhere, or nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
