"""The feed of all runs, for services: which runs are running now, and then which runs start and end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.events.feed import FeedSnapshot, FeedSource
from runtime.events.follow import Follower
from runtime.events.hub import Hub
from runtime.events.subscriber import Subscriber
from runtime.protocol.records import RunRecord
from runtime.protocol.sse import HEARTBEAT_SECONDS


class RunFeed:
    """Reads the feed. All methods raise StorageUnavailable when Redis cannot be reached."""

    def __init__(self, source: FeedSource, hub: Hub) -> None:
        self._source = source
        self._hub = hub

    def snapshot(self) -> FeedSnapshot:
        """Returns the runs that are running now, and the cursor after which everything else follows."""
        return self._source.snapshot()

    def records(self, run_ids: list[str]) -> list[RunRecord]:
        """Returns the records of these runs, except those that no longer exist."""
        return self._source.records(run_ids)

    def knows(self, cursor: str) -> bool:
        """Returns whether everything after a client's cursor is still stored."""
        return self._source.knows(cursor)

    def follow(self, after: str) -> Follower:
        """Returns a follower of all starts and ends after a cursor. It never ends; reading it raises CursorLost."""
        source, hub = self._source, self._hub
        return Follower("feed", source.stream, after=after, store=source, hub=hub, heartbeat=HEARTBEAT_SECONDS)

    @contextmanager
    def attend(self, seat: Subscriber) -> Iterator[None]:
        """Registers a connection as a subscriber without a stream, so that it is closed when the worker stops."""
        self._hub.admit(seat, is_endless=True)
        try:
            yield
        finally:
            self._hub.leave(seat)
