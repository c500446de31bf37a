"""Cuts a body into server-sent events as it arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from runtime.llm.wire.errors import WireError

MAX_LINE_BYTES = 16 << 20
"""A generated image comes as one line of base64; nothing legitimate is longer than this."""

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
    U+FFFD. Raises WireError when the body begins with something else than an event, or a line is too long.
    """

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._name = ""
        self._data: list[str] = []
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
        line = raw.decode("utf-8", "replace")
        if not line.strip():
            return self._dispatch()
        if line.startswith(":"):
            return None
        name, _, value = line.partition(":")
        if name in _FIELDS:
            self._has_fields = True
        elif not self._has_fields:
            raise WireError("the answer is no stream of events")
        value = value.removeprefix(" ")
        if name == "data" and value.strip():
            self._data.append(value)
        elif name == "event":
            self._name = value.strip()
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        name, data = self._name, "\n".join(self._data)
        self._name, self._data = "", []
        return ServerSentEvent(name, data) if data else None


def _too_long() -> WireError:
    return WireError(f"a line of the answer is longer than {MAX_LINE_BYTES} bytes")
