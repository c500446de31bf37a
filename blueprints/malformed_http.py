"""Requests that are not valid HTTP or have too large a head: gunicorn refuses them before Flask sees them."""

from __future__ import annotations

import json
import socket

from gunicorn import util

from blueprints.security_headers import CACHE_CONTROL, SECURITY_HEADERS


def answer_in_our_shape() -> None:
    """Makes this worker's gunicorn write such refusals like every other error, without repeating the request."""
    util.write_error = _write_error


def _write_error(sock: socket.socket, status: int, reason: str, message: str) -> None:
    """Replaces gunicorn's function of this name, whose ``message`` repeats what was sent."""
    text = reason.lower()
    body = json.dumps({"code": text.replace(" ", "_"), "message": text, "status": status, "detail": reason}) + "\n"
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Cache-Control": CACHE_CONTROL,
        **SECURITY_HEADERS,
    }
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    util.write_nonblock(sock, ("\r\n".join(lines) + body).encode())
