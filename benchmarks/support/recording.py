"""Reads cheaply: bytes are only kept while they come, with their times, and parsed afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """One event as JSON, and when it was complete, on the clock of ``time.monotonic``."""

    at: float
    raw: bytes

    def text(self) -> str:
        """The model's text in it."""
        return json.loads(self.raw).get("agent_message_delta") or ""

    def written_at(self) -> float:
        """When Redis stored it, in epoch seconds of whole milliseconds. Only for a terminal event."""
        milliseconds, _, _ = json.loads(self.raw)["id"].partition("-")
        return int(milliseconds) / 1000


class Recording(asyncio.Protocol):
    """One request and its answer.

    ``began_at`` is when the request was sent and ``ended_at`` when the terminal event came; ``answered`` and ``closed``
    are done with the first bytes and with the connection's end.
    """

    end_mark: ClassVar[bytes]
    """Bytes that only a terminal event of success contains."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.answered = loop.create_future()
        self.closed = loop.create_future()
        self.began_at = 0.0
        self.ended_at = 0.0
        self.pieces: list[tuple[float, bytes]] = []
        self._request = request
        self._last_bytes = b""

    @abstractmethod
    def events(self) -> list[TimedEvent]:
        """Returns the events of the whole answer. Raises ValueError when it does not end with a success."""

    def lag(self) -> float:
        """Returns the seconds from when Redis stored the terminal event until it came here."""
        return self.ended_at + time.time() - time.monotonic() - self.events()[-1].written_at()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.began_at = time.monotonic()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.pieces.append((now, data))
        if not self.answered.done():
            self.answered.set_result(None)
        if self.ended_at:
            return
        length = len(self.end_mark)
        seam = self._last_bytes + data[:length]
        if self.end_mark in data or self.end_mark in seam:
            self.ended_at = now
        self._last_bytes = (data if len(data) >= length else seam)[-length:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = self.ended_at or time.monotonic()
        for future in (self.answered, self.closed):
            if not future.done():
                future.set_result(None)

    def body(self, status: int) -> Iterator[tuple[float, bytes]]:
        """Yields what came after the answer's head, with its times. Raises ValueError when it has another status."""
        head, in_body = b"", False
        for at, data in self.pieces:
            if in_body:
                yield at, data
                continue
            head, found, behind = (head + data).partition(HEAD_END)
            if found:
                in_body = True
                if b" %d " % status not in head.partition(b"\r\n")[0]:
                    raise ValueError(f"the request was refused: {head + behind!r}")
                yield at, behind

    def must_have_ended(self, events: list[TimedEvent], rest: bytes) -> None:
        """Raises ValueError unless these events end with a success, with nothing left over."""
        if rest or not events or b'"run_succeeded"' not in events[-1].raw:
            raise ValueError(
                f"not a whole stream: {len(events)} events, {b''.join(raw for _, raw in self.pieces)[-200:]!r}"
            )


AnyRecording = TypeVar("AnyRecording", bound=Recording)


async def send(
    kind: Callable[[bytes], AnyRecording], method: str, url: str, headers: dict[str, str], body: bytes = b""
) -> AnyRecording:
    """Sends a request on its own connection. The recording of the answer continues."""
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, **headers, **({"Content-Length": str(len(body))} if body else {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    request = f"{method} {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body
    loop = asyncio.get_running_loop()
    _, recording = await loop.create_connection(lambda: kind(request), parts.hostname or "", parts.port or 80)
    return recording
