"""The dashboard's feed: readers of many runs, and of the list of runs as they start and end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, TypeVar

from errors import RunNotFound
from runtime.protocol.feed import Unsubscribed, run_message, runs_page
from runtime.protocol.ids import is_id
from runtime.protocol.records import RunRecord, feed_payload_start
from runtime.runs import CursorLost, Follower, StreamEntry, Subscriber, Worker
from services.run_access import RunAccess

SNAPSHOT_PAGE_RUNS = 100

BatchT = TypeVar("BatchT")


class FeedReader(ABC, Generic[BatchT]):
    """A reader for one client, run by a greenlet of its own; iterating yields what to send.

    The iteration ends by itself, when another greenlet calls ``stop``, and when the worker stops.
    """

    def __init__(self) -> None:
        self._is_stopped = False
        self._follower: Follower | None = None

    def stop(self) -> None:
        """Ends the iteration soon, or before it begins."""
        self._is_stopped = True
        if self._follower is not None:
            self._follower.stop()

    @abstractmethod
    def __iter__(self) -> Iterator[BatchT]: ...

    def _read(self, make: Callable[[], Follower]) -> Iterator[list[StreamEntry]]:
        """Reads a follower that is created only now: a worker that stops ends the greenlet that creates a follower."""
        if self._is_stopped:
            return
        self._follower = make()
        for entries in self._follower:
            if entries:  # empty batches are dropped: pings are sent for the whole connection
                yield entries


class RunReader(FeedReader[list[StreamEntry]]):
    """Reads the events of one run, in batches. ``record`` is the run's record when it was looked up."""

    def __init__(self, record: RunRecord, make: Callable[[], Follower]) -> None:
        super().__init__()
        self.record = record
        self._make = make
        self._has_ended = record.has_ended

    @property
    def end(self) -> Unsubscribed | None:
        """Why the iteration has ended; None when it was stopped, or the worker stops."""
        if self._follower is None or self._follower.is_cut:
            return None
        return Unsubscribed.RUN_ENDED if self._has_ended else Unsubscribed.RUN_GONE

    def __iter__(self) -> Iterator[list[StreamEntry]]:
        for entries in self._read(self._make):
            self._has_ended = self._has_ended or entries[-1].is_terminal
            yield entries


class ListReader(FeedReader[list[bytes]]):
    """Reads the list of runs as JSON messages: what runs now, unless it resumes, and then what starts and ends.

    Runs that its reader may not see are left out.
    """

    def __init__(self, worker: Worker, after: str | None, *, access: RunAccess) -> None:
        super().__init__()
        self._worker = worker
        self._access = access
        self._starts = None if access.tenants is None else tuple(map(feed_payload_start, access.tenants))
        self._after = after if after is not None and worker.runs.feed.knows(after) else None

    @property
    def is_resumed(self) -> bool:
        """Whether it continues after the given cursor, because Redis still has all that came after it."""
        return self._after is not None

    def __iter__(self) -> Iterator[list[bytes]]:
        after = self._after
        while not self._is_stopped:
            if after is None:
                snapshot = self._worker.runs.feed.snapshot()
                yield from self._pages(snapshot.run_ids, snapshot.cursor)
                after = snapshot.cursor
            try:
                for entries in self._read(partial(self._worker.runs.feed.follow, after)):
                    if messages := self._messages(entries):
                        yield messages
                return
            except CursorLost:
                after = None

    def _pages(self, run_ids: list[str], cursor: str) -> Iterator[list[bytes]]:
        # Pages are filled with what the reader may see, so that they do not reveal how much else there is.
        seen: list[RunRecord] = []
        for start in range(0, len(run_ids), SNAPSHOT_PAGE_RUNS):
            found = self._worker.runs.feed.records(run_ids[start : start + SNAPSHOT_PAGE_RUNS])
            seen += filter(self._access.may_see, found)
            if len(seen) > SNAPSHOT_PAGE_RUNS:
                yield [runs_page(seen[:SNAPSHOT_PAGE_RUNS], cursor=None)]
                seen = seen[SNAPSHOT_PAGE_RUNS:]
        yield [runs_page(seen, cursor=cursor)]

    def _messages(self, entries: list[StreamEntry]) -> list[bytes]:
        starts = self._starts
        return [
            run_message(entry.raw_cursor, entry.payload)
            for entry in entries
            if starts is None or entry.payload.startswith(starts)
        ]


class FeedService:
    """Opens readers for the feed. Its methods raise the errors that callers see.

    ``max_subscriptions`` is how many runs one connection may follow at once.
    """

    def __init__(self, worker: Worker, *, max_subscriptions: int) -> None:
        self._worker = worker
        self.max_subscriptions = max_subscriptions

    def attend(self, seat: Subscriber) -> AbstractContextManager[None]:
        """Registers a connection, as a subscriber to nothing, which is cut when the worker is to stop."""
        return self._worker.runs.feed.attend(seat)

    def open_run(self, run_id: str, *, access: RunAccess, after: str) -> RunReader:
        """Returns a reader of a run's events from a cursor to its end. Raises RunNotFound."""
        if not is_id(run_id):
            raise RunNotFound
        found = self._worker.runs.find(run_id, after=after)
        if found is None or not access.may_see(found.record):
            raise RunNotFound
        return RunReader(found.record, partial(self._worker.runs.follow, found))

    def open_list(self, *, access: RunAccess, after: str | None) -> ListReader:
        """Returns a reader of the list of runs, from a cursor, or from what runs now if that is None or too old."""
        return ListReader(self._worker, after, access=access)
