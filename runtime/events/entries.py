"""Entries of an event stream in the form that readers forward: bytes that nobody parses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.protocol import sse, ws
from runtime.protocol.cursors import Position, position
from runtime.protocol.events import TERMINAL_TYPES

_TERMINAL = frozenset(kind.encode() for kind in TERMINAL_TYPES)


class StreamEntry:
    """One stored event. Its frame and its message are rendered once for all subscribers."""

    __slots__ = ("_frame", "_message", "payload", "raw_cursor", "raw_type")

    def __init__(self, raw_cursor: bytes, raw_type: bytes, payload: bytes) -> None:
        self.raw_cursor = raw_cursor
        self.raw_type = raw_type
        self.payload = payload
        self._frame: bytes | None = None
        self._message: bytes | None = None

    @property
    def cursor(self) -> str:
        return self.raw_cursor.decode()

    @property
    def event_type(self) -> str:
        return self.raw_type.decode()

    @property
    def position(self) -> Position:
        return position(self.cursor)

    @property
    def frame(self) -> bytes:
        """The entry as a server-sent event."""
        if self._frame is None:
            self._frame = sse.frame(self.raw_cursor, self.raw_type, self.payload)
        return self._frame

    @property
    def message(self) -> bytes:
        """The entry as a WebSocket message."""
        if self._message is None:
            self._message = ws.text_frame(self.as_event())
        return self._message

    @property
    def is_terminal(self) -> bool:
        return self.raw_type in _TERMINAL

    def as_event(self) -> bytes:
        """Returns the entry as the JSON of a whole event."""
        return sse.event_with_id(self.raw_cursor, self.payload)


def raw_entries(raw: Iterable[tuple[bytes, Sequence[bytes]]]) -> list[StreamEntry]:
    """Returns the entries of Redis' answer.

    Each is an id and a flat list of the fields ``type`` and ``payload``, in that order.
    """
    return [StreamEntry(cursor, values[1], values[3]) for cursor, values in raw]
