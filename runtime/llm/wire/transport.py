"""Puts a wire between the connection and a provider's package."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import httpx2

from runtime.llm.wire.errors import WireError
from runtime.llm.wire.reader import AnswerReader, Wire


class WireTransport(httpx2.AsyncBaseTransport):
    """Sends requests through ``transport`` and hands their successful answers on as ``wire`` reads them.

    What is wrong with an answer is raised as a WireError where the answer is read. Closing this leaves ``transport``
    open: it is shared.
    """

    def __init__(self, transport: httpx2.AsyncBaseTransport, wire: Callable[[], Wire]) -> None:
        self._transport = transport
        self._wire = wire

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request."""
        response = await self._transport.handle_async_request(request)
        if not response.is_success:
            return response
        response.request = request
        headers = httpx2.Headers(response.headers)
        for name in ("content-encoding", "content-length"):
            headers.pop(name, None)
        # Some servers name another type, and a package that believes it takes the stream for something else.
        headers["content-type"] = "text/event-stream"
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_CleanBody(response, AnswerReader(self._wire())),
            extensions=response.extensions,
        )


class _CleanBody(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, reader: AnswerReader) -> None:
        self._response = response
        self._reader = reader

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.aiter_bytes():
            for clean in _told_first(self._reader.feed(piece)):
                yield clean
        for clean in _told_first(self._reader.end()):
            yield clean

    async def aclose(self) -> None:
        await self._response.aclose()


def _told_first(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """All pieces as one, and then the error that ended them."""
    told: list[bytes] = []
    error: WireError | None = None
    try:
        told.extend(pieces)
    except WireError as mistake:
        error = mistake
    if told:
        yield b"".join(told)
    if error is not None:
        raise error
