"""Streamable HTTP: the SDK's transport over a client that is guarded and bounded."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import cast

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client

from runtime.llm.address_guard import guarded_transport
from runtime.llm.transport import client_over
from runtime.mcp.errors import SESSION_LOST, AnswerTooLarge, ServerRefused
from runtime.mcp.limits import MAX_MESSAGE_BYTES

KEEPALIVE_SECONDS = 3.0
"""Shorter than servers keep idle connections, so that none is used just as it is closed."""

WRITE_SECONDS = 30.0

REFUSALS = frozenset({401, 403, 502, 503, 504})
"""Statuses that say nothing of the message that was sent: of who sent it, or of a server that is away."""


NO_SESSION = re.compile(
    r"no session|session.{0,40}\b(?:closed|ended|exist|expired|found|invalid|missing|required|terminated|unknown|valid)"
    r"|(?:expired|invalid|missing|unknown|valid).{0,40}\bsession|server not initiali[sz]ed",
    re.IGNORECASE | re.DOTALL,
)
"""What a server that has lost a session says with status 400."""

NO_SESSION_CHARS = 2000
"""Of an answer with status 400, in which that is looked for."""


@asynccontextmanager
async def connect_http(
    lost: Callable[[str], None],
    *,
    url: str,
    headers: Mapping[str, str],
    allow_private: bool,
    connect_timeout: float,
) -> AsyncGenerator[TransportStreams]:
    """The streams of a session with the server at ``url``. Nothing is sent before the first message."""
    # An answer may take as long as its call may: whoever waits for it has the clock.
    timeout = httpx2.Timeout(connect=connect_timeout, read=None, write=WRITE_SECONDS, pool=None)
    limits = httpx2.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_SECONDS)
    transport = _BoundedTransport(guarded_transport(allow_private=allow_private, limits=limits), lost)
    sent = {**headers, "Accept-Encoding": "identity"}  # a small body must not unpack to a large one
    async with (
        client_over(transport, timeout=timeout, headers=sent) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES) as streams,
    ):
        yield streams


class _BoundedTransport(httpx2.AsyncBaseTransport):
    def __init__(self, inner: httpx2.AsyncBaseTransport, lost: Callable[[str], None]) -> None:
        self._inner = inner
        self._lost = lost

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        problem = _refusal(request, response)
        if problem is not None:
            await response.aclose()
            raise ServerRefused(problem)
        # Only messages are answered; the server's own stream of news may break without any harm.
        lost = self._lost if request.method == "POST" else _ignore
        bounded = httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_BoundedBody(cast(httpx2.AsyncByteStream, response.stream), lost, _too_large(response)),
            extensions=response.extensions,
        )
        return await _session_lost(request, bounded) or bounded

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedBody(httpx2.AsyncByteStream):
    def __init__(
        self, inner: httpx2.AsyncByteStream, lost: Callable[[str], None], too_large: type[Exception] = AnswerTooLarge
    ) -> None:
        self._inner = inner
        self._lost = lost
        self._too_large = too_large

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._pieces():
            size += len(piece)
            if size > MAX_MESSAGE_BYTES:
                raise self._too_large(f"its answer is larger than {MAX_MESSAGE_BYTES} bytes")
            yield piece

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._inner:
                yield piece
        except httpx2.TransportError:
            self._lost("the connection broke in the middle of an answer")
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


def _refusal(request: httpx2.Request, response: httpx2.Response) -> str | None:
    if request.method != "POST":
        return None
    status = response.status_code
    if status in REFUSALS:
        return f"it answered with status {status}"
    if response.headers.get("content-encoding", "identity") != "identity":
        return "it compresses its answers, which it was asked not to"
    return None


async def _session_lost(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response | None:
    """What a refused session is answered with, so that its call hears of it and the others go on."""
    if request.method != "POST" or MCP_SESSION_ID not in request.headers:
        return None
    if response.status_code == httpx2.codes.BAD_REQUEST:
        await response.aread()
        if not NO_SESSION.search(response.text[:NO_SESSION_CHARS]):
            return None
    elif response.status_code != httpx2.codes.NOT_FOUND:
        return None
    await response.aclose()
    error = {"code": SESSION_LOST, "message": "it has forgotten the session"}
    return httpx2.Response(httpx2.codes.NOT_FOUND, json={"jsonrpc": "2.0", "id": None, "error": error})


def _too_large(response: httpx2.Response) -> type[Exception]:
    """What the SDK makes the failure of one call of, rather than of the session."""
    content_type = response.headers.get("content-type", "")
    return httpx2.SSEError if content_type.lower().startswith("text/event-stream") else AnswerTooLarge


def _ignore(_: str) -> None:
    pass
