"""The sink of events: receives those that Redis has stored."""

from __future__ import annotations

from typing import Protocol

from runtime.events.entries import StreamEntry


class EventSink(Protocol):
    """Notified by the log about every stream that this worker writes. Its methods must not block."""

    def own(self, stream: str) -> None:
        """Called when this worker begins to write a stream."""

    def is_watched(self, stream: str) -> bool:
        """Returns whether anybody wants the stream's entries. After ``disown`` nobody does."""

    def publish(self, stream: str, entry: StreamEntry) -> None:
        """Called when Redis has stored an entry. A terminal entry is the last one."""

    def disown(self, stream: str, *, cursor: str) -> None:
        """Called when this worker writes nothing more to a stream; its last entry was at ``cursor``."""
