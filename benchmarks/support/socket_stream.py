"""Reading runs over WebSockets, as little of the protocol as a benchmark needs."""

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
    """A WebSocket on which the server sends whole text frames. It is closed from here when the run has ended."""

    end_mark = b'"type":"run_succeeded"'

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self._has_closed = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # A ping comes by itself, when nothing else has come for a while, and the texts of the models are ASCII: so its
        # first byte tells it, and no frame has to be parsed while others are being received.
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
    """Read a run over a WebSocket."""
    return await send(SocketRecording, "GET", url + Transport.WS.path(run_id), HANDSHAKE)


def _frame(opcode: int, payload: bytes) -> bytes:
    """A short frame of a client."""
    return pack("!BB", opcode, 0x80 | len(payload)) + NO_MASK + payload


def _frames(raw: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames of a server at the beginning, as their first bytes and payloads, and what is left."""
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
