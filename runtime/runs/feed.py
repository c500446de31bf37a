"""The feed of all runs, as services read it: what runs now, and then what starts and ends."""

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
    """Its methods raise StorageUnavailable."""

    def __init__(self, source: FeedSource, hub: Hub) -> None:
        self._source = source
        self._hub = hub

    def snapshot(self) -> FeedSnapshot:
        """What runs now, and the cursor behind which the rest comes."""
        return self._source.snapshot()

    def records(self, run_ids: list[str]) -> list[RunRecord]:
        """The records of these runs, of as many as there are still."""
        return self._source.records(run_ids)

    def knows(self, cursor: str) -> bool:
        """Whether everything behind a cursor that a client brings is still there."""
        return self._source.knows(cursor)

    def follow(self, after: str) -> Follower:
        """What starts and ends from a cursor on, without an end. Reading it raises CursorLost."""
        source, hub = self._source, self._hub
        return Follower("feed", source.stream, after=after, store=source, hub=hub, heartbeat=HEARTBEAT_SECONDS)

    @contextmanager
    def attend(self, seat: Subscriber) -> Iterator[None]:
        """Let a connection be known, by a subscriber to nothing, which is cut when the worker is to stop."""
        self._hub.admit(seat, is_endless=True)
        try:
            yield
        finally:
            self._hub.leave(seat)
