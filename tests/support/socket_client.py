"""WebSocket readers of a run: a well-behaved client, and a bare connection that a test controls byte by byte."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from simple_websocket import Client, ConnectionClosed

DEADLINE_SECONDS = 30.0
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
}


class WholeClient(Client):
    """simple-websocket's client, which by itself would overlook data that arrives with the handshake's answer."""

    def _thread(self) -> None:
        self.connected = self._handle_events()
        super()._thread()


class SocketClient:
    """Follows one run. ``closed`` is the code and reason of the close, once ``rest`` or ``receive`` has met it.

    With a ``gate`` it reads nothing from the socket until the gate is set.
    """

    def __init__(
        self, url: str, run_id: str, *, query: str = "", token: str | None = None, gate: threading.Event | None = None
    ) -> None:
        class GatedThread(threading.Thread):
            def run(self) -> None:
                if gate is not None:
                    gate.wait()
                super().run()

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"{url.replace('http://', 'ws://')}/runs/{run_id}/events/ws{query}"
        self.client = WholeClient.connect(address, headers=headers, thread_class=GatedThread)
        self.closed: tuple[int, str] | None = None

    def send(self, message: object) -> None:
        """Sends text as it is, bytes as a binary message, and anything else as JSON."""
        self.client.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def receive(self) -> dict[str, Any]:
        """Returns the next message. Raises ``ConnectionClosed`` when the connection has ended."""
        try:
            text = self.client.receive(timeout=DEADLINE_SECONDS)
        except ConnectionClosed as closed:
            self.closed = (int(closed.reason), closed.message or "")
            raise
        assert isinstance(text, str), f"received {text!r}"
        return dict(json.loads(text))

    def rest(self) -> list[dict[str, Any]]:
        """Receives all messages until the connection ends."""
        return list(self._messages())

    def close(self) -> None:
        if self.client.connected:
            self.client.close()
        self.client.thread.join(DEADLINE_SECONDS)

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                yield self.receive()
            except ConnectionClosed:
                return


def events_path(run_id: str) -> str:
    """The path at which a run's events are read over a WebSocket."""
    return f"/runs/{run_id}/events/ws"


class BareSocket:
    """A raw connection after the handshake; nothing answers its pings."""

    def __init__(self, url: str, path: str, more: Mapping[str, str] | None = None) -> None:
        """``more`` are additional headers of the handshake."""
        address = urlsplit(url)
        self.sock = socket.create_connection((address.hostname or "", address.port or 80), DEADLINE_SECONDS)
        headers = "".join(f"{name}: {value}\r\n" for name, value in {**UPGRADE, **(more or {})}.items())
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode("latin-1"))
        self.received = b""
        self.receive_until(b"\r\n\r\n")
        assert self.received.startswith(b"HTTP/1.1 101 "), self.received

    def receive_until(self, part: bytes) -> None:
        while part not in self.received:
            data = self.sock.recv(4096)
            assert data, f"the connection ended behind {self.received[-200:]!r}"
            self.received += data
