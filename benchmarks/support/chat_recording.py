"""Records the answer of one chat turn as its bytes come."""

from __future__ import annotations

import asyncio
import json
import re

from benchmarks.support.recording import Recording, TimedEvent

MESSAGE = b'"event":"message",'
CONVERSATION = re.compile(rb'"conversation_id":"([^"]+)"')
DATA = b"data: "


class ChatRecording(Recording):
    """A streamed chat turn.

    ``first_at`` is when the first piece of the answer came, and 0 before that. ``ended`` is done with the last frame,
    before the connection is closed, and at the latest with the connection's end.
    """

    end_mark = b'"event":"message_end"'

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self.first_at = 0.0
        self.ended = asyncio.get_running_loop().create_future()
        self._before_answer = b""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.first_at:
            self._before_answer += data
            if MESSAGE in self._before_answer:
                self.first_at = self.pieces[-1][0]
        if self.ended_at and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.ended.done():
            self.ended.set_result(None)

    def conversation_id(self) -> str | None:
        """The conversation that the answer belongs to; None when the answer names none."""
        found = CONVERSATION.search(b"".join(raw for _, raw in self.pieces))
        return found.group(1).decode() if found else None

    def events(self) -> list[TimedEvent]:
        """Returns the frames without what is around them.

        Raises ValueError unless the last frame is the end of a success.
        """
        events: list[TimedEvent] = []
        rest = b""
        for at, data in self.body(200):
            *whole, rest = (rest + data).split(b"\n\n")
            # The data follows the length of its HTTP chunk: the server never splits a frame.
            events += [TimedEvent(at, raw.partition(DATA)[2]) for raw in whole if DATA in raw]
        if not events or self.end_mark not in events[-1].raw:
            raise ValueError(f"not a whole turn: {b''.join(raw for _, raw in self.pieces)[-500:]!r}")
        return events

    def answer(self) -> str:
        """Returns the whole answer. Raises ValueError as ``events`` does."""
        frames = [json.loads(event.raw) for event in self.events()]
        return "".join(frame["answer"] for frame in frames if frame["event"] == "message")
