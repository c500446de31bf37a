"""Messages over a stream socket: the number of parts, the length of each part, and the parts."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

_CHUNK = 1 << 18


class ConnectionEnded(ConnectionError):
    """The other side has closed the connection."""


def send_message(connection: socket.socket, parts: Sequence[bytes], deadline: float | None = None) -> None:
    """Sends a message.

    Raises TimeoutError at ``deadline``, in monotonic seconds, and OSError when the other side is gone.
    """
    _set_timeout(connection, deadline)
    header = struct.pack(f">B{len(parts)}I", len(parts), *map(len, parts))
    connection.sendall(b"".join((header, *parts)))


def receive_message(connection: socket.socket, deadline: float | None = None) -> list[bytes]:
    """Returns the next message. Raises TimeoutError at ``deadline`` and ConnectionEnded when the other side is gone."""
    (count,) = _receive(connection, 1, deadline)
    lengths = struct.unpack(f">{count}I", _receive(connection, 4 * count, deadline))
    return [_receive(connection, length, deadline) for length in lengths]


def _receive(connection: socket.socket, length: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < length:
        _set_timeout(connection, deadline)
        chunk = connection.recv(min(_CHUNK, length - len(data)))
        if not chunk:
            raise ConnectionEnded
        data += chunk
    return bytes(data)


def _set_timeout(connection: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
