"""Requests as raw bytes, so that a test can send anything, and answers, read as strictly as by clients."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 60.0
MAX_STREAM_BYTES = 64 * 1024
"""How much is read of an answer without a length; a run may last longer than a fuzzer should wait."""

SECURITY_HEADERS = {"x-content-type-options", "referrer-policy", "content-security-policy", "cache-control"}

ERROR_SHAPE = {"code", "message", "status", "detail"}
SERVICE_ERROR_SHAPES = [{"code", "message", "status"}, {"code", "message", "status", "params"}]
"""The shapes of errors below ``/v1``. Malformed HTTP is refused in the other shape there too."""


@dataclass(frozen=True)
class Answer:
    """An answer as it was received. ``rest`` is everything after the head."""

    status: int
    headers: dict[str, str]
    rest: bytes


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 80), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(url: str, pieces: Sequence[bytes]) -> Answer | None:
    """Sends a request in these pieces and returns the answer; None when the connection was closed without one."""
    received = b""
    with connect(url) as connection:
        with suppress(OSError):  # the server may answer and close before it has read everything
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # what has not arrived by then is lost
            while len(received) < MAX_STREAM_BYTES and (data := connection.recv(65536)):
                received += data
                if _is_endless(received):
                    break
    return parse_answer(received) if received else None


def vanish(connection: socket.socket) -> None:
    """Closes with a reset of the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def parse_answer(received: bytes) -> Answer:
    head, end, rest = received.partition(b"\r\n\r\n")
    assert end, f"the head of the answer has no end: {received[:300]!r}"
    line, *lines = head.decode("latin-1").split("\r\n")
    version, status, _ = line.split(" ", 2)
    assert version == "HTTP/1.1", line
    if status == "100":
        return parse_answer(rest)
    headers = [one.partition(": ") for one in lines]
    return Answer(int(status), {name.lower(): value for name, _, value in headers}, rest)


def _is_endless(received: bytes) -> bool:
    """Whether an event stream has begun; it would only end with the run."""
    return b"\r\nContent-Type: text/event-stream" in received and b"\r\n\r\n" in received


def assert_proper(answer: Answer, *, method: str, is_service_api: bool = False) -> None:
    """Asserts that the answer is not an internal error, and that an error has one of the documented shapes."""
    assert answer.status < 500 or answer.status == 503, answer
    assert set(answer.headers) >= SECURITY_HEADERS, answer
    if 300 <= answer.status < 400:
        assert answer.headers["location"].startswith("/"), answer
        assert not answer.headers["location"].startswith(("//", "/\\")), answer
    if method == "HEAD" and (not answer.rest or answer.rest.startswith(b"HTTP/1.1 ")):
        return  # what follows the head answers a second request, which the first one's body was taken for
    if answer.status >= 400 and "reasons" not in (body := _body(answer)):
        assert answer.headers["content-type"] == "application/json", answer
        shapes = [ERROR_SHAPE, *(SERVICE_ERROR_SHAPES if is_service_api else ())]
        assert set(body) in shapes, answer
        assert body["status"] == answer.status, answer
        assert isinstance(body["code"], str)
        assert isinstance(body["message"], str)
        assert isinstance(body.get("detail", ""), str | list), answer
        assert isinstance(body.get("params", ""), str), answer


def _body(answer: Answer) -> dict[str, Any]:
    length = int(answer.headers["content-length"])
    assert len(answer.rest) >= length, answer
    # The rest of the bytes sent may have been taken for a second request and answered.
    assert len(answer.rest) == length or answer.headers["connection"] in ("keep-alive", "upgrade"), answer
    body = json.loads(answer.rest[:length].decode(), parse_constant=_refuse)
    assert isinstance(body, dict), answer
    return body


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")
