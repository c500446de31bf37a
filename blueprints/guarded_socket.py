"""A socket that simple-websocket can be given under gevent."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import gevent
from gevent.lock import BoundedSemaphore

LINGER_SECONDS = 5.0
DISCARD_BYTES = 64 * 1024


class GuardedSocket:
    """Sends everything it is given, for one caller after the other, and receives when what came has been dealt with.

    simple-websocket calls ``send`` once a frame, from more than one greenlet, and goes on as if all had been sent;
    gevent's ``send`` takes what fits into the kernel's buffer, so that frames to slow readers would be torn.
    """

    __slots__ = ("_is_torn", "_on_closed", "_on_received", "_sock", "_turn")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._turn = BoundedSemaphore()
        self._is_torn = False
        self._on_received: Callable[[], None] | None = None
        self._on_closed: Callable[[], None] | None = None

    def attend(self, *, on_received: Callable[[], None], on_closed: Callable[[], None]) -> None:
        """Be told, by whoever receives: before more is received, and once the socket is closed."""
        self._on_received, self._on_closed = on_received, on_closed

    def send(self, data: bytes) -> int:
        """All of ``data``, however long the peer takes.

        Raises OSError, also when an earlier call was interrupted; but not of the answer to a handshake, which is sent
        before anybody attends: flask-sock would let Flask answer that over HTTP.
        """
        with self._turn:
            if self._is_torn:
                raise BrokenPipeError("an earlier frame was not sent to its end")
            self._is_torn = True
            try:
                self._sock.sendall(data)
            except OSError:
                if self._on_received is not None:
                    raise
            else:
                self._is_torn = False
        return len(data)

    def recv(self, size: int) -> bytes:
        if self._on_received is not None:
            self._on_received()
        return self._sock.recv(size)

    def close(self) -> None:
        """Close when the peer has closed too, or after ``LINGER_SECONDS``.

        A socket that is closed while there is something to receive is reset, and then the peer loses what is still on
        its way to it: the last events, or the reason of the end.
        """
        try:
            if self._on_received is not None:
                self._on_received()
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
                gevent.with_timeout(LINGER_SECONDS, self._discard, timeout_value=None)
            self._sock.close()
        finally:
            if self._on_closed is not None:
                self._on_closed()

    def _discard(self) -> None:
        while self._sock.recv(DISCARD_BYTES):
            pass
