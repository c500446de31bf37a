"""An MCP server as one run uses it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mcp_types import CallToolResult, Tool

from runtime.mcp.errors import McpCallFailed, McpSessionLost, McpUnavailable
from runtime.mcp.session import McpSession

logger = logging.getLogger(__name__)


class McpServer:
    """A session with the server, and a new one in its place once the server has lost it."""

    def __init__(self, new_session: Callable[[], McpSession]) -> None:
        self._new_session = new_session
        self._session = new_session()
        self._retired: list[McpSession] = []
        self._renewing = asyncio.Lock()
        self._tries = 0
        self._failure = ""

    async def open(self) -> list[Tool]:
        """Connect; the server's tools. Raises McpUnavailable, with the reason as its text. Once."""
        return await self._session.open()

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool, by the server's name of it.

        A call that is refused for its session was not executed: it is made once more, in a new session. Raises
        McpCallFailed when this call came to nothing, and McpUnavailable when none can be made any more.
        """
        session = self._session
        try:
            return await session.call(name, arguments)
        except McpSessionLost:
            session = await self._renewed(session)
        try:
            return await session.call(name, arguments)
        except (McpSessionLost, McpUnavailable) as error:
            raise McpCallFailed(f"The tool's server lost the session, and then the call: {error}.") from error

    async def close(self) -> None:
        """Leave the server. Bounded in time, whatever the server does."""
        await asyncio.gather(*(session.close() for session in (self._session, *self._retired)))

    async def _renewed(self, lost: McpSession) -> McpSession:
        """The session in place of a lost one. Calls that lose it together open one; raises McpCallFailed."""
        tries = self._tries
        async with self._renewing:
            if self._session is lost and self._tries == tries:
                self._tries += 1
                await self._renew()
            if self._session is lost:
                raise McpCallFailed(f"The tool's server lost the session, and a new one failed: {self._failure}.")
            return self._session

    async def _renew(self) -> None:
        logger.info("an MCP server has lost its session, a new one is opened")
        session = self._new_session()
        try:
            await session.open()
        except McpUnavailable as error:
            self._failure = str(error)
            return
        # Other calls may still wait in the old one.
        self._session.retire()
        self._retired = [*(old for old in self._retired if not old.has_ended()), self._session]
        self._session = session
