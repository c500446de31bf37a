"""Follows a run: its history in pages, then new events as they come, with none missing or repeated in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Self

import gevent

from errors import StorageUnavailable
from runtime.events.entries import StreamEntry
from runtime.events.hub import Hub
from runtime.events.subscriber import Subscriber
from runtime.protocol.cursors import BEGINNING, position

FIRST_PAGE_ENTRIES = 100
MOST_PAGE_ENTRIES = 2000
PAGE_BYTES = 256 * 1024
"""The desired size of a page. Redis limits only the number of entries, so it is estimated from the page before."""
STORAGE_RETRY_SECONDS = 1.0
"""Between two attempts to read while Redis is unavailable; each is also a heartbeat."""


class StreamSource(Protocol):
    """Where a follower reads what the hub does not deliver; ``name`` identifies the stream."""

    def page(self, name: str, /, *, after: str, limit: int) -> list[StreamEntry]: ...

    def last_cursor(self, name: str, /) -> str | None: ...

    def has_events(self, name: str, /) -> bool: ...

    def is_awaited(self, name: str, /) -> bool: ...


class Follower:
    """Reads one run for one reader, from a cursor to the terminal event.

    Enter it, ``read`` to the end and leave it, or iterate. The end is the terminal event, the loss of the stream, or a
    cut (``is_cut``) because the worker stops. ``first_page`` is the page after ``after`` if it was read already, at
    most ``FIRST_PAGE_ENTRIES`` long.

    Reading is a sequence of steps and not a chain of generators, because the stack of a waiting reader exists thousands
    of times.
    """

    def __init__(
        self,
        run_id: str,
        stream: str,
        *,
        after: str,
        store: StreamSource,
        hub: Hub,
        heartbeat: float,
        has_ended: bool = False,
        first_page: list[StreamEntry] | None = None,
    ) -> None:
        self._subscriber = Subscriber(stream)
        self._run_id = run_id
        self._after = after
        self._has_ended = has_ended
        self._page = first_page
        self._limit = FIRST_PAGE_ENTRIES
        self._store = store
        self._hub = hub
        self._heartbeat = heartbeat
        self._joined = False
        self._has_read = False
        self._finished = False
        self._step = self._begin

    @property
    def is_cut(self) -> bool:
        return self._subscriber.is_cut and not self._finished

    @property
    def has_nothing(self) -> bool:
        """Whether it is known before the first read that a run has ended and nothing is left to read."""
        return self._has_ended and self._page == []

    def stop(self) -> None:
        """Ends the reading soon, as if it were cut. For other greenlets than the one that reads."""
        self._subscriber.cut()

    def __enter__(self) -> Self:
        self._hub.admit(self._subscriber)
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.leave(self._subscriber)

    def __iter__(self) -> Iterator[list[StreamEntry]]:
        with self:
            while (entries := self.read()) is not None:
                yield entries

    def read(self) -> list[StreamEntry] | None:
        """Returns the next entries: an empty list if none came within ``heartbeat`` seconds, None at the end.

        While Redis is unavailable it continues, with empty lists.
        """
        while not (self._finished or self._subscriber.is_cut):
            try:
                entries = self._step()
            except StorageUnavailable:
                gevent.sleep(STORAGE_RETRY_SECONDS)
                return []
            if entries is not None:
                return entries
        return None

    def _begin(self) -> list[StreamEntry] | None:
        # Events that come while a page is read are in the page, in the queue or in both. So there is no gap, and _news
        # drops the duplicates.
        self._joined = self._hub.join_owned(self._subscriber)
        if self._joined:
            self._subscriber.catch_up()
        page = self._read_page()
        if page is None and not self._has_ended:
            return []  # so that the response begins, although nothing may come for a while
        return page

    def _read_page(self) -> list[StreamEntry] | None:
        page, self._page = self._page, None
        if page is None:
            page = self._store.page(self._run_id, after=self._after, limit=self._limit)
        self._step = self._read_page if len(page) == self._limit else self._reach_end
        if not page:
            return None
        self._has_read = True
        self._after = page[-1].cursor
        self._finished = page[-1].is_terminal
        self._limit = _next_limit(page)
        return page

    def _reach_end(self) -> None:
        """Continues with new events, or ends, after everything stored was read."""
        if self._has_ended:
            self._finished = True
        elif not self._subscriber.lagging:
            self._step = self._take
        elif self._joined or self._join():
            self._subscriber.catch_up()
            self._step = self._read_page

    def _join(self) -> bool:
        # An entry that was read is surely in the stream; a client's cursor may be beyond the stream's end.
        cursor = self._after if self._has_read else self._store.last_cursor(self._run_id)
        if cursor is None and self._is_awaited():
            cursor = BEGINNING
        if cursor is None:
            self._finished = True
            return False
        self._hub.join(self._subscriber, cursor=cursor)
        self._joined = True
        return True

    def _take(self) -> list[StreamEntry] | None:
        entries = self._subscriber.take(self._heartbeat)
        if self._subscriber.lagging:
            self._step = self._read_page
        elif not entries and not self._subscriber.is_cut:
            if self._store.has_events(self._run_id) or self._is_awaited():
                return entries
            self._finished = True
        elif entries and not self._subscriber.is_cut:
            return self._news(entries) or None
        return None

    def _is_awaited(self) -> bool:
        """Returns whether the stream is missing because the run has not begun."""
        return not self._has_read and self._store.is_awaited(self._run_id)

    def _news(self, entries: list[StreamEntry]) -> list[StreamEntry]:
        """Returns the queued entries that are new to this reader."""
        last = position(self._after)
        new = [entry for entry in entries if entry.position > last]
        if new:
            self._after = new[-1].cursor
        if entries[-1].is_terminal:
            self._finished = True
        return new


def _next_limit(page: list[StreamEntry]) -> int:
    size = sum(len(entry.payload) for entry in page)
    return max(1, min(MOST_PAGE_ENTRIES, PAGE_BYTES * len(page) // max(size, 1)))
