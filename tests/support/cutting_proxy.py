"""A TCP proxy that breaks connections in the middle of an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

BUFFER_BYTES = 4096
STOP_SECONDS = 10.0


class CuttingProxy:
    """Forwards connections to one server and cuts each after a number of bytes from the server.

    ``cuts`` counts the connections that were cut; ``url`` is where to connect.
    """

    def __init__(self, target: str, cut_after: int) -> None:
        address = urlsplit(target)
        self._target = (address.hostname or "", address.port or 80)
        self._cut_after = cut_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.cuts = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Cuts open connections and stops."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(STOP_SECONDS)
        for one in self._sockets:
            _shut(one)
        for thread in self._threads[1:]:
            thread.join(STOP_SECONDS)
        for one in (self._listener, *self._sockets):
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for target in (self._forward_request, self._forward_answer):
                    thread = threading.Thread(target=target, args=(client, server))
                    self._threads.append(thread)
                    thread.start()

    def _forward_request(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # the other direction was cut
            while data := client.recv(BUFFER_BYTES):
                server.sendall(data)
        _shut(server)

    def _forward_answer(self, client: socket.socket, server: socket.socket) -> None:
        left = self._cut_after
        with suppress(OSError):  # the client has gone
            while left and (data := server.recv(min(BUFFER_BYTES, left))):
                client.sendall(data)
                left -= len(data)
        self.cuts += not left
        _shut(client)
        _shut(server)


@contextmanager
def cutting_proxy(target: str, *, cut_after: int) -> Iterator[CuttingProxy]:
    """Runs a proxy in front of the server at the URL ``target`` for the time of the block."""
    proxy = CuttingProxy(target, cut_after)
    try:
        yield proxy
    finally:
        proxy.close()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
