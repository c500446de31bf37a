"""Cuts a body into server-sent events as it arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from runtime.llm.wire.errors import OversizedAnswer, WireError

MAX_LINE_BYTES = 16 << 20
"""A generated image comes as one line of base64; nothing legitimate is longer than this, nor an event of
several lines."""

LINE_COST = 64
"""Bytes that a line of an event counts for at least, which is about what it takes in memory."""

MAX_LINES = 1_000_000
"""Of one answer, those that say nothing included. A long answer has 400,000."""

MAX_EVENTS = 250_000
"""Of one answer, which is twice what the longest have. Each takes a fraction of a millisecond."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = frozenset({"data", "event", "id", "retry"})
_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """One event; ``name`` is empty when it has none, ``data`` may be of several lines."""

    name: str
    data: str


class EventDecoder:
    """The events of one body.

    A byte order mark, comments, blank lines and events without data are passed over. Bytes that are no UTF-8 become
    U+FFFD. Raises WireError when the body begins with something else than an event, and OversizedAnswer when a line or
    an event is too long, or there are too many of them.
    """

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._name = ""
        self._data: list[str] = []
        self._data_bytes = 0
        self._lines_read = 0
        self._events_read = 0
        self._at_start = True
        self._has_fields = False

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """The events that this piece of the body completes."""
        for line in self._lines(piece):
            event = self._take(line)
            if event is not None:
                yield event

    def end(self) -> Iterator[ServerSentEvent]:
        """The event that the body ended in, if any: servers may leave out the blank line behind the last."""
        rest, self._begun = b"".join(self._begun).rstrip(b"\r"), []
        for line in (rest, b""):
            event = self._take(line) if line or self._data else None
            if event is not None:
                yield event

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        if b"\n" not in piece and b"\r" not in piece and not self._ends_in_return():
            self._begin(piece)
            return
        *lines, rest = _LINE_END.split(b"".join([*self._begun, piece]))
        if piece.endswith(b"\r"):  # its line feed may be still to come
            rest = lines.pop() + b"\r"
        self._begun, self._begun_bytes = [], 0
        self._begin(rest)
        for line in lines:
            if len(line) > MAX_LINE_BYTES:
                raise _too_long()
            yield line

    def _ends_in_return(self) -> bool:
        return bool(self._begun) and self._begun[-1].endswith(b"\r")

    def _begin(self, data: bytes) -> None:
        if data:
            self._begun.append(data)
            self._begun_bytes += len(data)
        if self._begun_bytes > MAX_LINE_BYTES:
            raise _too_long()

    def _take(self, raw: bytes) -> ServerSentEvent | None:
        if self._at_start:
            raw, self._at_start = raw.removeprefix(BYTE_ORDER_MARK), False
        self._lines_read += 1
        if self._lines_read > MAX_LINES:
            raise OversizedAnswer(f"the answer has more than {MAX_LINES} lines")
        if raw.startswith(b":"):
            return None
        line = raw.decode("utf-8", "replace")
        if not line.strip():
            return self._dispatch()
        name, _, value = line.partition(":")
        if name in _FIELDS:
            self._has_fields = True
        elif not self._has_fields:
            raise WireError("the answer is no stream of events")
        value = value.removeprefix(" ")
        if name == "data" and value.strip():
            self._data.append(value)
            self._data_bytes += max(len(raw), LINE_COST)
            if self._data_bytes > MAX_LINE_BYTES:
                raise OversizedAnswer(f"an event of the answer is longer than {MAX_LINE_BYTES} bytes")
        elif name == "event":
            self._name = value.strip()
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        name, data = self._name, "\n".join(self._data)
        self._name, self._data, self._data_bytes = "", [], 0
        if not data:
            return None
        self._events_read += 1
        if self._events_read > MAX_EVENTS:
            raise OversizedAnswer(f"the answer has more than {MAX_EVENTS} events")
        return ServerSentEvent(name, data)


def _too_long() -> OversizedAnswer:
    return OversizedAnswer(f"a line of the answer is longer than {MAX_LINE_BYTES} bytes")
