"""Entries of an event stream as readers pass them on: bytes that nobody parses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from runtime.protocol import sse, ws
from runtime.protocol.cursors import Position, position
from runtime.protocol.events import TERMINAL_TYPES


class StreamEntry:
    """One stored event. Its frame and its message are rendered once, for all viewers."""

    def __init__(self, cursor: str, event_type: str, payload: bytes) -> None:
        self.cursor = cursor
        self.event_type = event_type
        self.payload = payload

    @cached_property
    def position(self) -> Position:
        return position(self.cursor)

    @cached_property
    def frame(self) -> bytes:
        """The entry as a server-sent event."""
        return sse.frame(self.cursor, self.event_type, self.payload)

    @cached_property
    def message(self) -> bytes:
        """The entry as a WebSocket message."""
        return ws.text_frame(self.as_event())

    @property
    def is_terminal(self) -> bool:
        return self.event_type in TERMINAL_TYPES

    def as_event(self) -> bytes:
        """The entry as the JSON of a whole event."""
        return sse.event_with_id(self.cursor, self.payload)


def entry_of(cursor: bytes, fields: Mapping[bytes, bytes]) -> StreamEntry:
    """The entry as Redis returns it."""
    return StreamEntry(cursor.decode(), fields[b"type"].decode(), fields[b"payload"])


def raw_entries(raw: Iterable[tuple[bytes, Sequence[bytes]]]) -> list[StreamEntry]:
    """Entries of an unparsed answer, in which fields and values are one flat list."""
    return [entry_of(cursor, dict(zip(values[::2], values[1::2], strict=True))) for cursor, values in raw]
