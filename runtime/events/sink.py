"""A sink of events: what else is told of them when Redis has taken them."""

from __future__ import annotations

from typing import Protocol

from runtime.events.entries import StreamEntry


class EventSink(Protocol):
    """Told by the log of every stream that this worker writes. None of its methods may wait."""

    def own(self, stream: str) -> None:
        """This worker begins to write a stream."""

    def is_watched(self, stream: str) -> bool:
        """Whether anybody wants its entries; nobody does once it was disowned."""

    def publish(self, stream: str, entry: StreamEntry) -> None:
        """Redis has taken an entry; a terminal one is the last."""

    def disown(self, stream: str, *, cursor: str) -> None:
        """This worker writes nothing more; its last entry was at ``cursor``."""
