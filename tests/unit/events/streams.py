"""A stream as Redis has it, and what reads streams for a hub, both driven by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from errors import StorageUnavailable
from runtime.events.entries import StreamEntry
from runtime.events.hub import Hub
from runtime.events.stream_reader import EntriesHandler, StreamReader
from runtime.protocol.cursors import position

STREAM = "test:runs:1:events"
CONTROL = "test:workers:w:control"


def entry(cursor: str, kind: str = "pydantic_ai_event", payload: bytes = b"{}") -> StreamEntry:
    return StreamEntry(cursor.encode(), kind.encode(), payload)


def last(cursor: str) -> StreamEntry:
    """The terminal event of a run."""
    return entry(cursor, "run_succeeded")


def entries(first: int, until: int) -> list[StreamEntry]:
    """Entries from ``1-first`` to before ``1-until``."""
    return [entry(f"1-{number}") for number in range(first, until)]


def cursors(batch: list[StreamEntry] | None) -> list[str] | None:
    return None if batch is None else [one.cursor for one in batch]


class Stream:
    """What a follower asks of one stream. ``while_read`` is called once, when the next page was read."""

    def __init__(self, stored: list[StreamEntry] | None = None, *, is_awaited: bool = False) -> None:
        self.stored = stored or []
        self.awaited = is_awaited
        self.is_away = False
        self.while_read: Callable[[], None] | None = None
        self.pages: list[tuple[str, int]] = []

    def page(self, name: str, /, *, after: str, limit: int) -> list[StreamEntry]:
        self._look()
        self.pages.append((after, limit))
        behind = [one for one in self.stored if one.position > position(after)][:limit]
        then, self.while_read = self.while_read, None
        if then is not None:
            then()
        return behind

    def last_cursor(self, name: str, /) -> str | None:
        self._look()
        return self.stored[-1].cursor if self.stored else None

    def has_events(self, name: str, /) -> bool:
        self._look()
        return bool(self.stored)

    def is_awaited(self, name: str, /) -> bool:
        self._look()
        return self.awaited

    def _look(self) -> None:
        if self.is_away:
            raise StorageUnavailable


class Reader:
    """Reads what the test gives it."""

    def __init__(self, on_entries: EntriesHandler) -> None:
        self.on_entries = on_entries
        self.cursors: dict[str, str] = {}
        self.has_ended = False
        self.starts = 0
        self.is_closed = False

    def start(self) -> None:
        self.starts += 1

    def reads(self, stream: str) -> bool:
        return stream in self.cursors

    def read_from(self, stream: str, cursor: str) -> None:
        self.cursors[stream] = cursor

    def forget(self, stream: str) -> None:
        self.cursors.pop(stream, None)

    def close(self) -> None:
        self.is_closed = True

    def bring(self, stream: str, *brought: StreamEntry) -> None:
        """Delivers these entries as if they had been read; the stream must be one that is read."""
        assert stream in self.cursors
        self.cursors[stream] = brought[-1].cursor
        self.on_entries(stream, list(brought))


class Readers:
    """Makes readers, one for each group; a stream's group is what ``groups`` says, or 0."""

    def __init__(self) -> None:
        self.groups: dict[str, int] = {}
        self.made: list[Reader] = []

    def group(self, stream: str) -> int:
        return self.groups.get(stream, 0)

    def reader(self, stream: str, on_entries: EntriesHandler) -> StreamReader:
        self.made.append(Reader(on_entries))
        return cast(StreamReader, self.made[-1])


class ReadHub:
    """A started hub, with its readers and the control messages passed to its owner."""

    def __init__(self) -> None:
        self.readers = Readers()
        self.told: list[tuple[str, str]] = []
        self.hub = Hub(self.readers, CONTROL, on_control=lambda *message: self.told.append(message))
        self.hub.start()

    @property
    def reader(self) -> Reader:
        return self.readers.made[-1]

    @property
    def reading(self) -> dict[str, Any]:
        """The cursor of each stream that it reads, except its own control stream."""
        return {stream: cursor for stream, cursor in self.reader.cursors.items() if stream != CONTROL}
