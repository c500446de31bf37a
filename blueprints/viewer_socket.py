"""The server's end of one WebSocket: simple-websocket, with what it lacks under gevent."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from gevent import Greenlet
from gevent.event import Event
from simple_websocket import ConnectionClosed, Server
from wsproto.events import Ping
from wsproto.utilities import LocalProtocolError

from blueprints.guarded_socket import GuardedSocket
from runtime.protocol.ws import text_frame
from runtime.runs import StreamEntry

logger = logging.getLogger(__name__)

MAX_MESSAGE_LENGTH = 64 * 1024
"""Of a message that a client sends, in characters. A longer one ends the connection with 1009."""

MAX_MISSED_PONGS = 2
"""Pings in a row that a client may leave without an answer before it counts as gone."""

CLOSED_ERRORS = (ConnectionClosed, LocalProtocolError, OSError)
"""What sending raises when the connection has ended, from whichever side."""


class ViewerSocket(Server):
    """One greenlet reads, and answers pings; any other may send.

    ``on_message`` is called by the reading greenlet, which receives nothing more until it returns, so that a client
    cannot pile up messages. ``on_end`` is called when nothing will be received any more.
    """

    ws: Any

    def __init__(
        self,
        sock: socket.socket,
        key: str,
        *,
        on_message: Callable[[str | bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        """Shake hands. Raises OSError. ``key`` is the request's Sec-WebSocket-Key."""
        self.pong_received: bool
        self.is_gone = False
        self._on_message = on_message
        self._on_end = on_end
        self._is_closing = False
        self._missed_pongs = 0
        self._sent_at = time.monotonic()
        # The offer of compression is left out: it would cost memory for each viewer, and CPU for each event and viewer.
        handshake = {
            "gunicorn.socket": GuardedSocket(sock),
            "HTTP_HOST": "localhost",
            "HTTP_CONNECTION": "Upgrade",
            "HTTP_UPGRADE": "websocket",
            "HTTP_SEC_WEBSOCKET_VERSION": "13",
            "HTTP_SEC_WEBSOCKET_KEY": key,
        }
        super().__init__(
            handshake, thread_class=self._reading_greenlet, event_class=Event, max_message_size=MAX_MESSAGE_LENGTH
        )

    def handshake(self) -> None:
        """Shake hands, and keep nothing of it, since there may be thousands of viewers."""
        super().handshake()
        self.ws = self.ws.connection

    def send_entries(self, entries: Sequence[StreamEntry]) -> None:
        """One message an entry. Raises one of CLOSED_ERRORS."""
        self._send_frames(b"".join(entry.message for entry in entries))

    def send_texts(self, texts: Iterable[bytes]) -> None:
        """One message a text. Raises one of CLOSED_ERRORS."""
        self._send_frames(b"".join(text_frame(text) for text in texts))

    def send_json(self, value: object) -> None:
        """Raises one of CLOSED_ERRORS."""
        self._send_frames(text_frame(json.dumps(value).encode()))

    @property
    def idle_seconds(self) -> float:
        """How long ago the last thing was sent."""
        return time.monotonic() - self._sent_at

    def ping(self) -> bool:
        """Ask for a sign of life. False when the last ones were asked for in vain. Raises one of CLOSED_ERRORS."""
        self._missed_pongs = 0 if self.pong_received else self._missed_pongs + 1
        self.pong_received = False
        self._send_frames(self.ws.send(Ping()))
        return self._missed_pongs < MAX_MISSED_PONGS

    def end(self, code: int, reason: str) -> None:
        """Say why nothing more will come, unless the end has already begun."""
        if self._is_closing or self.is_gone:
            return
        self._is_closing = True
        with suppress(*CLOSED_ERRORS):
            self.close(code, reason)

    def wait_closed(self, seconds: float) -> None:
        """Give the client the time to take what was sent, and to close."""
        self.thread.join(seconds)

    def _send_frames(self, frames: bytes) -> None:
        if self._is_closing or not self.connected:
            raise ConnectionClosed(self.close_reason, self.close_message)
        self.sock.send(frames)
        self._sent_at = time.monotonic()

    def _reading_greenlet(self, target: Callable[[], None]) -> Greenlet[..., None]:
        return Greenlet(self._read, target)

    def _read(self, read_to_end: Callable[[], None]) -> None:
        try:
            read_to_end()
        except Exception:
            logger.exception("unexpected error while a WebSocket was read")
        finally:
            self.is_gone = True
            self._on_end()

    def _handle_events(self) -> bool:
        """Handle what simple-websocket has received, and the messages in it at once."""
        goes_on = bool(super()._handle_events())
        while self.input_buffer:
            self._on_message(self.input_buffer.pop(0))
        return goes_on
