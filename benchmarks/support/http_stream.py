"""Reading event streams cheaply: bytes are only kept while they come, with their times, and understood afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TERMINAL_MARK = b"event: run_succeeded"
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """One server-sent event and when it was complete, on the clock of ``time.monotonic``."""

    at: float
    raw: bytes

    def text(self) -> str:
        """The model's text in it."""
        event = json.loads(self.raw.partition(b"\ndata: ")[2])
        return event.get("agent_message_delta") or ""


@dataclass
class Recording(asyncio.Protocol):
    """One request and its answer. ``ended_at`` is when the terminal event came."""

    request: bytes
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended_at: float = 0.0

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.answered = loop.create_future()
        self.closed = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.pieces.append((now, data))
        if not self.answered.done():
            self.answered.set_result(None)
        if TERMINAL_MARK in data:
            self.ended_at = now

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = self.ended_at or time.monotonic()  # the mark was split, or never came: frames() tells
        for future in (self.answered, self.closed):
            if not future.done():
                future.set_result(None)

    def frames(self) -> list[TimedFrame]:
        """The events of the answer, without comments.

        Raises:
            ValueError: it is no whole event stream that ends with a success.
        """
        frames: list[TimedFrame] = []
        rest = b""
        for at, data in _bodies(self.pieces):
            *whole, rest = (rest + data).split(b"\n\n")
            frames += [TimedFrame(at, raw) for raw in whole if raw.startswith(b"id: ")]
        if rest or not frames or TERMINAL_MARK not in frames[-1].raw:
            raise ValueError(
                f"not a whole stream: {len(frames)} events, {b''.join(raw for _, raw in self.pieces)[-200:]!r}"
            )
        return frames


async def send(method: str, url: str, body: bytes = b"") -> Recording:
    """Send a request on a connection of its own; the answer goes on being recorded."""
    parts = urlsplit(url)
    head = f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"\r\n" + body
    loop = asyncio.get_running_loop()
    _, recording = await loop.create_connection(lambda: Recording(request), parts.hostname or "", parts.port or 80)
    return recording


async def post(url: str, body: bytes) -> str:
    """Create a run; its id."""
    recording = await send("POST", url, body)
    await recording.closed
    raw = b"".join(data for _, data in recording.pieces)
    if b" 202 " not in raw.partition(b"\r\n")[0]:
        raise ValueError(f"the run was refused: {raw[:300]!r}")
    start, end = raw.rindex(b"{"), raw.rindex(b"}")
    return str(json.loads(raw[start : end + 1])["run_id"])


def _bodies(pieces: list[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """The body in the pieces of an answer, free of the head and the chunk sizes."""
    rest, in_body = b"", False
    for at, data in pieces:
        rest += data
        if not in_body:
            head, found, behind = rest.partition(HEAD_END)
            if not found:
                continue
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise ValueError(f"the stream was refused: {head!r}")
            rest, in_body = behind, True
        body, rest = _chunks(rest)
        if body:
            yield at, body


def _chunks(raw: bytes) -> tuple[bytes, bytes]:
    """The contents of the whole chunks at the beginning, and what is left."""
    contents, start = [], 0
    while (line_end := raw.find(b"\r\n", start)) >= 0:
        size = int(raw[start:line_end], 16)
        end = line_end + 2 + size
        if len(raw) < end + 2:
            break
        contents.append(raw[line_end + 2 : end])
        start = end + 2
    return b"".join(contents), raw[start:]
