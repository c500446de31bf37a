"""The way from a request to a WebSocket."""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Callable
from typing import NoReturn

from flask import Request, Response

from errors import UpgradeRequired

KEY_BYTES = 16


class SocketResponse(Response):
    """Answers a request by a conversation on its socket, once Flask has done with it."""

    def __init__(self, converse: Callable[[], None]) -> None:
        super().__init__()
        self._converse = converse

    def __call__(self, environ: object, start_response: object) -> NoReturn:
        self._converse()
        # gunicorn takes this as: answered, write nothing, close the connection.
        raise StopIteration


def require_upgrade(request: Request) -> str:
    """The key of a WebSocket handshake. Raises UpgradeRequired for any other request."""
    connection = [token.strip() for token in request.headers.get("Connection", "").lower().split(",")]
    if (
        request.method != "GET"
        or "upgrade" not in connection
        or request.headers.get("Upgrade", "").lower() != "websocket"
    ):
        raise UpgradeRequired
    if request.headers.get("Sec-WebSocket-Version") != "13":
        raise UpgradeRequired("this route speaks version 13 of the WebSocket protocol: send Sec-WebSocket-Version: 13")
    key = request.headers.get("Sec-WebSocket-Key", "")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except (ValueError, binascii.Error):
        is_key = False
    if not is_key:
        raise UpgradeRequired("Sec-WebSocket-Key must be 16 bytes in base64")
    return key


def socket_of(request: Request) -> socket.socket:
    """The socket of a request under gunicorn."""
    sock: socket.socket = request.environ["gunicorn.socket"]
    return sock
