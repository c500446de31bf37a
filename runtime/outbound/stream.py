"""A connection's bytes: counted, timed, and looked at before the connection is used again."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
from anyio.streams.tls import TLSStream

from runtime.outbound.bounds import HEAD_BYTES, AnswerBounds
from runtime.outbound.errors import AnswerTooLarge
from runtime.polling import is_readable_now


class BoundedBackend(httpcore2.AsyncNetworkBackend):
    """Connects as another backend does. Each connection reads no more of an answer than the bounds allow."""

    def __init__(self, network: httpcore2.AsyncNetworkBackend, bounds: AnswerBounds) -> None:
        self._network = network
        self._bounds = bounds

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return BoundedStream(stream, self._bounds)

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class BoundedStream(httpcore2.AsyncNetworkStream):
    """A stream of one request and its answer after another. It knows its socket.

    Reading raises AnswerTooLarge above the bound: that of a head until ``read_body`` is called, and then the body's.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream, bounds: AnswerBounds) -> None:
        self._stream = stream
        self._bounds = bounds
        self._socket: Any = stream.get_extra_info("socket")
        self._begin()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._deadline is not None:
            left = max(0.0, self._deadline - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        data = await self._stream.read(min(max_bytes, self._bounds.read_bytes), timeout)
        self._left -= len(data)
        self._is_answering = True
        if self._left < 0:
            raise AnswerTooLarge(f"the {self._part} of the answer is too large")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._is_answering:
            self._begin()
        await self._stream.write(buffer, timeout)

    def read_body(self, status: int) -> None:
        """Go on to the body of an answer with this status."""
        self._left = self._bounds.wire_bytes(status)
        self._part = "body"

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._bounds)

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return self._stream.get_extra_info(info)
        # The pool's own way asks for all that is known of the socket, and polls it by gevent, which gives every other
        # greenlet a turn. With a hundred idle connections that took longer than the run.
        descriptor = self._socket.fileno()
        return descriptor < 0 or is_readable_now(descriptor) or _holds_data(self._stream)

    def _begin(self) -> None:
        seconds = self._bounds.seconds
        self._deadline = time.monotonic() + seconds if seconds is not None else None
        self._left = HEAD_BYTES
        self._part = "head"
        self._is_answering = False


def _holds_data(stream: httpcore2.AsyncNetworkStream) -> bool:
    """Whether something has been taken from the socket that nobody has read."""
    inner: Any = stream._stream  # type: ignore[attr-defined]
    if isinstance(inner, TLSStream):
        if inner._read_bio.pending or inner._ssl_object.pending():
            return True
        inner = inner.transport_stream
    return bool(inner._protocol.read_queue)
