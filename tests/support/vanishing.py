"""Clients that leave without a word, each in its own way."""

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
"""Of Linux: what is closed in repair mode says nothing to the other side, like a machine that lost its power."""


def opened(url: str, request: bytes) -> socket.socket:
    """A connection on which this was sent."""
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
    """As if the machine were gone; one that may not do that resets the connection."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    reset(connection)


Leave = Callable[[socket.socket], None]

WAYS: list[tuple[str, bool, Leave]] = [
    (way, reads, leave) for way in ("sse", "ws") for reads in (True, False) for leave in (close, reset, fall_silent)
]


def vanish(number: int, url: str, run_id: str, token: str) -> None:
    """Follow a run for a moment and leave, in one of the ways by turns."""
    way, reads, leave = WAYS[number % len(WAYS)]
    fields = {"Authorization": f"Bearer {token}", **(UPGRADE if way == "ws" else {})}
    connection = opened(url, request_bytes("GET", f"/runs/{run_id}/events/{way}", headers=fields))
    if reads:
        read_some(connection)
    leave(connection)


def half_close(url: str, run_id: str, token: str) -> socket.socket:
    """Follow a run, say that nothing more will be sent, and read nothing."""
    headers = {"Authorization": f"Bearer {token}"}
    connection = opened(url, request_bytes("GET", f"/runs/{run_id}/events/sse", headers=headers))
    connection.shutdown(socket.SHUT_WR)
    return connection


def stop_inside_a_request(url: str, token: str) -> None:
    """Leave with half of a body sent."""
    body = {"composition": {"layers": []}, "metadata": {"text": "x" * 1000}}
    request = request_bytes("POST", "/runs", body, {"Authorization": f"Bearer {token}"})
    close(opened(url, request[: -len(json.dumps(body)) // 2]))
