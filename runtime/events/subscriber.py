"""A subscriber: one reader of one stream, with a bounded queue."""

from __future__ import annotations

import gevent
from gevent.event import Event
from greenlet import getcurrent

from runtime.events.entries import StreamEntry

MAX_QUEUED_BYTES = 256 * 1024
"""Beyond this the queue is dropped, and the subscriber reads from Redis by its own cursor until it has caught up."""


class Subscriber:
    """Filled by the hub and emptied by the greenlet of one request.

    A subscriber is ``lagging`` while it reads pages from Redis; the hub then does not fill it.
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._reader = getcurrent()
        self.lagging = True
        self.is_cut = False
        self._queue: list[StreamEntry] = []
        self._queued_bytes = 0
        self._arrived = Event()

    def offer(self, entry: StreamEntry) -> None:
        """Queues an entry, unless the subscriber is lagging."""
        if self.lagging:
            return
        self._queue.append(entry)
        self._queued_bytes += len(entry.payload)
        if self._queued_bytes > MAX_QUEUED_BYTES:
            self._drop_queue()
            self.lagging = True
        self._arrived.set()

    def catch_up(self) -> None:
        """Accepts entries from the hub again, from now on."""
        self._drop_queue()
        if not self.is_cut:
            self._arrived.clear()
        self.lagging = False

    def take(self, timeout: float) -> list[StreamEntry]:
        """Returns all queued entries; waits up to ``timeout`` seconds for the first. Empty if none came."""
        self._arrived.wait(timeout)
        self._arrived.clear()
        entries = self._queue
        self._drop_queue()
        return entries

    def cut(self) -> None:
        """Makes the reader leave soon, although its run continues."""
        self.is_cut = True
        self._arrived.set()

    def abandon(self) -> None:
        """Kills the reading greenlet, which is stuck writing to a client that does not read."""
        gevent.kill(self._reader)

    def _drop_queue(self) -> None:
        self._queue = []
        self._queued_bytes = 0
