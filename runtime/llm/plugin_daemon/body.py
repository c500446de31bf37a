"""Reads the body of an open response as it arrives."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import anyio
import httpx2

MAX_UNREAD_BYTES = 1 << 20
"""How far the daemon may get ahead of the run; beyond it nothing is read until the run has caught up."""


class BodyReader:
    """All that has arrived, taken at once.

    The HTTP library hands out one piece per chunk of the transfer encoding, however many came in one packet. A task
    of its own collects them, so that what came together is taken together, and more of it when the run is slow.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces: list[bytes] = []
        self._unread_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None
        self._task = asyncio.create_task(self._read(), name="plugin-daemon-body")
        self._task.add_done_callback(lambda _: self._news.set())

    async def take(self) -> list[bytes] | None:
        """The pieces that arrived since the last call, waiting for the first; None at the end of the body.

        Raises httpx2.HTTPError when the connection broke or timed out, after all that came before has been taken,
        and httpx2.StreamClosed after ``aclose``.
        """
        while not self._pieces:
            if self._closed:
                raise httpx2.StreamClosed
            if self._task.done():
                if self._error is not None:
                    raise self._error
                return None
            await self._news.wait()
            self._news.clear()
        pieces, self._pieces, self._unread_bytes = self._pieces, [], 0
        self._room.set()
        return pieces

    async def aclose(self) -> None:
        """Stop reading and close the connection, unless the body has been read to its end. Safe to repeat."""
        self._closed = True
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.wait([self._task])
            finally:
                await self._response.aclose()

    async def _read(self) -> None:
        try:
            async with aclosing(self._response.aiter_bytes()) as pieces:
                async for piece in pieces:
                    self._pieces.append(piece)
                    self._unread_bytes += len(piece)
                    self._news.set()
                    if self._unread_bytes >= MAX_UNREAD_BYTES:
                        self._room.clear()
                        await self._room.wait()
        except Exception as error:  # handed to the reader, who raises it
            self._error = error
