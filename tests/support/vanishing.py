"""Clients that disconnect abruptly, in several ways."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from tests.support.raw_http import request_bytes
from tests.support.socket_client import UPGRADE

READ_BYTES = 2000
CONNECT_SECONDS = 30.0
TCP_REPAIR = 19
"""On Linux, a socket closed in repair mode sends nothing to the other side, like a machine that has lost power."""


def opened(url: str, request: bytes) -> socket.socket:
    """Opens a connection and sends this on it."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 80), CONNECT_SECONDS)
    connection.sendall(request)
    return connection


def read_some(connection: socket.socket) -> None:
    left = READ_BYTES
    while left > 0 and (data := connection.recv(left)):
        left -= len(data)


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def fall_silent(connection: socket.socket) -> None:
    """Closes as if the machine had lost power; resets the connection where repair mode is not permitted."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    reset(connection)


Leave = Callable[[socket.socket], None]

WAYS: list[tuple[str, bool, Leave]] = [
    (way, reads, leave) for way in ("sse", "ws") for reads in (True, False) for leave in (close, reset, fall_silent)
]


def vanish(number: int, url: str, run_id: str, token: str) -> None:
    """Follows a run for a moment and leaves; ``number`` chooses one of the ways."""
    way, reads, leave = WAYS[number % len(WAYS)]
    fields = {"Authorization": f"Bearer {token}", **(UPGRADE if way == "ws" else {})}
    connection = opened(url, request_bytes("GET", f"/runs/{run_id}/events/{way}", headers=fields))
    if reads:
        read_some(connection)
    leave(connection)


def half_close(url: str, run_id: str, token: str) -> socket.socket:
    """Requests a run's events, shuts down the sending side, and reads nothing."""
    headers = {"Authorization": f"Bearer {token}"}
    connection = opened(url, request_bytes("GET", f"/runs/{run_id}/events/sse", headers=headers))
    connection.shutdown(socket.SHUT_WR)
    return connection


def stop_inside_a_request(url: str, token: str) -> None:
    """Disconnects after half of a body was sent."""
    body = {"composition": {"layers": []}, "metadata": {"text": "x" * 1000}}
    request = request_bytes("POST", "/runs", body, {"Authorization": f"Bearer {token}"})
    close(opened(url, request[: -len(json.dumps(body)) // 2]))
