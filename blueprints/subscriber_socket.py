"""The server's end of one WebSocket: flask-sock's, with what it lacks under gevent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from simple_websocket import ConnectionClosed, Server
from wsproto.events import Ping
from wsproto.utilities import LocalProtocolError

from runtime.protocol.ws import text_frame
from runtime.runs import StreamEntry

MAX_MESSAGE_LENGTH = 64 * 1024
"""Of a message that a client sends, in characters. A longer one ends the connection with 1009."""

MAX_MISSED_PONGS = 2
"""Pings in a row that a client may leave without an answer before it counts as gone."""

CLOSED_ERRORS = (ConnectionClosed, LocalProtocolError, OSError)
"""What sending raises when the connection has ended, from whichever side."""


class SubscriberSocket:
    """One greenlet reads, and answers pings; any other may send.

    ``on_message`` is called by the reading greenlet, which receives nothing more until it returns, so that a client
    cannot pile up messages. ``on_end`` is called when nothing will be received any more.
    """

    __slots__ = ("_is_closing", "_missed_pongs", "_on_end", "_on_message", "_sent_at", "_server", "is_gone")

    def __init__(
        self, server: Server, *, on_message: Callable[[str | bytes], None], on_end: Callable[[], None]
    ) -> None:
        """Take over what flask-sock has shaken hands with, over a GuardedSocket, before it reads."""
        self.is_gone = False
        self._server = server
        self._on_message = on_message
        self._on_end = on_end
        self._is_closing = False
        self._missed_pongs = 0
        self._sent_at = time.monotonic()
        server.max_message_size = MAX_MESSAGE_LENGTH
        server.ping_interval = None  # an application that this one is mounted into may have set it for its own
        server.ws = server.ws.connection  # keep nothing of the handshake, since there may be thousands of subscribers
        server.sock.attend(on_received=self._hand_over, on_closed=self._end_reading)

    @property
    def pong_received(self) -> bool:
        """Whether the last ping has been answered."""
        received: bool = self._server.pong_received
        return received

    @property
    def idle_seconds(self) -> float:
        """How long ago the last thing was sent."""
        return time.monotonic() - self._sent_at

    def send_entries(self, entries: Sequence[StreamEntry]) -> None:
        """One message an entry. Raises one of CLOSED_ERRORS."""
        self._send_frames(b"".join(entry.message for entry in entries))

    def send_texts(self, texts: Iterable[bytes]) -> None:
        """One message a text. Raises one of CLOSED_ERRORS."""
        self._send_frames(b"".join(text_frame(text) for text in texts))

    def send_json(self, value: object) -> None:
        """Raises one of CLOSED_ERRORS."""
        self._send_frames(text_frame(json.dumps(value).encode()))

    def ping(self) -> bool:
        """Ask for a sign of life. False when the last ones were asked for in vain. Raises one of CLOSED_ERRORS."""
        self._missed_pongs = 0 if self._server.pong_received else self._missed_pongs + 1
        self._server.pong_received = False
        self._send_frames(self._server.ws.send(Ping()))
        return self._missed_pongs < MAX_MISSED_PONGS

    def end(self, code: int, reason: str) -> None:
        """Say why nothing more will come, unless the end has already begun."""
        if self._is_closing or self.is_gone:
            return
        self._is_closing = True
        with suppress(*CLOSED_ERRORS):
            self._server.close(code, reason)

    def wait_closed(self, seconds: float) -> None:
        """Give the client the time to take what was sent, and to close."""
        self._server.thread.join(seconds)

    def _send_frames(self, frames: bytes) -> None:
        server = self._server
        if self._is_closing or not server.connected:
            raise ConnectionClosed(server.close_reason, server.close_message)
        server.sock.send(frames)
        self._sent_at = time.monotonic()

    def _hand_over(self) -> None:
        received = self._server.input_buffer
        while received:
            self._on_message(received.pop(0))

    def _end_reading(self) -> None:
        self.is_gone = True
        self._on_end()
