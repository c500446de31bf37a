"""Reads runs over WebSockets, with as little of the protocol as a benchmark needs."""

from __future__ import annotations

from struct import pack, unpack_from

from benchmarks.support.recording import Recording, TimedEvent, send
from benchmarks.support.transport import Transport

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
NORMAL_CLOSURE = 1000
NO_MASK = b"\0\0\0\0"
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "Z3JlZW5ydW4tYmVuY2htYQ==",
}


class SocketRecording(Recording):
    """A WebSocket on which the server sends whole text frames. This side closes it when the run has ended."""

    end_mark = b'"type":"run_succeeded"'

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self._has_closed = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # A ping comes alone, after a time of silence, and the models' texts are ASCII. So its first byte identifies it,
        # and no frame must be parsed while others are being received.
        if data[0] == PING:
            self.transport.write(_frame(PONG, data[2 : 2 + data[1]]))
        if self.ended_at and not self._has_closed:
            self._has_closed = True
            self.transport.write(_frame(CLOSE, pack("!H", NORMAL_CLOSURE)))

    def events(self) -> list[TimedEvent]:
        events: list[TimedEvent] = []
        rest = b""
        for at, data in self.body(101):
            frames, rest = _frames(rest + data)
            events += [TimedEvent(at, payload) for opcode, payload in frames if opcode == TEXT]
        self.must_have_ended(events, rest)
        return events


async def follow(url: str, run_id: str) -> Recording:
    """Reads a run over a WebSocket."""
    return await send(SocketRecording, "GET", url + Transport.WS.path(run_id), HANDSHAKE)


def _frame(opcode: int, payload: bytes) -> bytes:
    """Returns a short frame of a client."""
    return pack("!BB", opcode, 0x80 | len(payload)) + NO_MASK + payload


def _frames(raw: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Returns a server's whole frames at the beginning, as their first bytes and payloads, and the rest."""
    frames: list[tuple[int, bytes]] = []
    start = 0
    while len(raw) >= start + 2:
        size, begin = raw[start + 1], start + 2
        if size >= 126:
            form, width = ("!H", 2) if size == 126 else ("!Q", 8)
            if len(raw) < begin + width:
                break
            (size,) = unpack_from(form, raw, begin)
            begin += width
        if len(raw) < begin + size:
            break
        if raw[start] not in (TEXT, CLOSE, PING):
            raise ValueError(f"an unexpected frame: {raw[start : start + 20]!r}")
        frames.append((raw[start], raw[begin : begin + size]))
        start = begin + size
    return frames, raw[start:]
