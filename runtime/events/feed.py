"""The feed of all runs: which are running, and a stream of their starts and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from runtime.events.entries import StreamEntry, raw_entries
from runtime.events.keys import Keys
from runtime.events.pipelined_connection import Requests
from runtime.events.store import FEED_LENGTH, ask_all
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.records import RunRecord


class CursorLost(Exception):
    """Raised when Redis no longer has everything after a cursor of the feed: the reader must take a snapshot."""


@dataclass(frozen=True, slots=True)
class FeedSnapshot:
    """The ids of the runs that were running at one moment of the feed, and the cursor of that moment."""

    cursor: str
    run_ids: list[str]


class FeedSource(Protocol):
    """What readers of the feed use; ``FeedStore`` implements it. It is also a ``StreamSource``."""

    stream: str

    def snapshot(self) -> FeedSnapshot: ...

    def records(self, run_ids: list[str]) -> list[RunRecord]: ...

    def knows(self, cursor: str) -> bool: ...

    def page(self, name: str, /, *, after: str, limit: int) -> list[StreamEntry]: ...

    def last_cursor(self, name: str, /) -> str | None: ...

    def has_events(self, name: str, /) -> bool: ...

    def is_awaited(self, name: str, /) -> bool: ...


class FeedStore:
    """The feed in Redis. As a ``StreamSource`` it has only one stream, so its methods ignore the name."""

    def __init__(self, link: Requests, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self.stream = keys.feed()

    def snapshot(self) -> FeedSnapshot:
        """Returns the running runs and a cursor.

        Every later start and end follows the cursor, and nothing is both in the snapshot and after the cursor.
        """
        *_, (last, run_ids) = ask_all(
            self._link,
            ("MULTI",),
            ("XREVRANGE", self.stream, "+", "-", "COUNT", 1),
            ("ZRANGE", self._keys.leases(), 0, -1),
            ("EXEC",),
        )
        return FeedSnapshot(_cursor_of(last), [run_id.decode() for run_id in run_ids])

    def records(self, run_ids: list[str]) -> list[RunRecord]:
        """Returns the records of these runs, except those that no longer exist."""
        (found,) = ask_all(self._link, ("MGET", *(self._keys.record(run_id) for run_id in run_ids)))
        return [RunRecord.model_validate_json(raw) for raw in found if raw is not None]

    def knows(self, cursor: str) -> bool:
        """Returns whether everything after a client's cursor is still stored."""
        (found,) = ask_all(self._link, ("XRANGE", self.stream, cursor, cursor, "COUNT", 1))
        return bool(found)

    def page(self, name: str, *, after: str, limit: int) -> list[StreamEntry]:
        """Returns up to ``limit`` entries after ``after``. Raises CursorLost."""
        page, found, length = ask_all(
            self._link,
            ("XRANGE", self.stream, f"({after}", "+", "COUNT", limit),
            ("XRANGE", self.stream, after, after, "COUNT", 1),
            ("XLEN", self.stream),
        )
        # These are read after the page: an entry that still exists then existed before. The front of a longer stream
        # may have been trimmed.
        is_whole = found or (after == BEGINNING and length < FEED_LENGTH)
        if not is_whole:
            raise CursorLost
        return raw_entries(page)

    def last_cursor(self, name: str) -> str:
        """Returns the id of the last entry, or the beginning if there is none."""
        (last,) = ask_all(self._link, ("XREVRANGE", self.stream, "+", "-", "COUNT", 1))
        return _cursor_of(last)

    def has_events(self, name: str) -> bool:
        """Returns True: even an empty feed continues."""
        return True

    def is_awaited(self, name: str) -> bool:
        return True


def _cursor_of(entries: list[Any]) -> str:
    return entries[0][0].decode() if entries else BEGINNING
