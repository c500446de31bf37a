"""The feed of all runs when Redis is a cluster, where each bucket has a feed of its own.

Each worker that has readers of the list merges these feeds into one, in its memory and with cursors of its own: it is
a stream that this worker writes, as far as the hub and its followers know. Another worker does not know such a cursor,
and begins anew with what runs then.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from itertools import islice

import gevent
from gevent.lock import BoundedSemaphore
from redis.exceptions import ResponseError

from runtime.events.cluster.requests import ClusterRequests
from runtime.events.connections import LINK_ERRORS
from runtime.events.entries import StreamEntry, raw_entries
from runtime.events.feed import CursorLost, FeedSnapshot
from runtime.events.hub import Hub
from runtime.events.keys import Keys
from runtime.events.scripts import load_script
from runtime.events.store import FEED_LENGTH, ask_all
from runtime.protocol.cursors import position
from runtime.protocol.records import RunRecord

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""A blocking read would take a connection for each bucket, and the list is for people."""
RETRY_SECONDS = 2.0
IDLE_SECONDS = 60.0
"""How long the feeds are read on when nobody watches the list: most readers come back."""
ENTRIES_PER_READ = 512


class ClusterFeedStore:
    """As ``FeedStore``."""

    def __init__(self, link: ClusterRequests, keys: Keys, hub: Hub) -> None:
        self._link = link
        self._keys = keys
        self._hub = hub
        self.stream = f"{keys.prefix}:feed"
        self._lock = BoundedSemaphore()
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._forget()

    def snapshot(self) -> FeedSnapshot:
        """What runs now, without a gap to what is behind the cursor, and without anything that is in both."""
        text = load_script("feed_snapshot").text
        with self._lock:
            commands = [
                ("EVAL", text, 2, self._keys.feed(bucket), self._keys.leases(bucket), self._cursors.get(bucket, ""))
                for bucket in self._keys.all_buckets
            ]
            running: list[str] = []
            for bucket, (last, raw, run_ids) in enumerate(ask_all(self._link, *commands)):
                self._cursors[bucket] = last.decode()
                self._merge(raw_entries(raw))
                running += [run_id.decode() for run_id in run_ids]
            if self._greenlet is None:
                self._hub.own(self.stream)
                self._greenlet = gevent.spawn(self._read_while_watched)
            return FeedSnapshot(self._cursor(self._sequence), running)

    def records(self, run_ids: list[str]) -> list[RunRecord]:
        """The records of these runs, of as many as there are still."""
        found = ask_all(self._link, *(("GET", self._keys.record(run_id)) for run_id in run_ids))
        return [RunRecord.model_validate_json(raw) for raw in found if raw is not None]

    def knows(self, cursor: str) -> bool:
        """Whether everything behind a cursor that a client brings is still there."""
        epoch, sequence = position(cursor)
        return epoch == self._epoch and self._sequence - len(self._entries) <= sequence <= self._sequence

    def page(self, name: str, *, after: str, limit: int) -> list[StreamEntry]:
        """Up to ``limit`` entries behind ``after``. Raises CursorLost."""
        if not self.knows(after):
            raise CursorLost
        start = len(self._entries) - (self._sequence - position(after)[1])
        return list(islice(self._entries, start, start + limit))

    def last_cursor(self, name: str) -> str:
        return self._cursor(self._sequence)

    def has_events(self, name: str) -> bool:
        """Also an empty feed goes on."""
        return True

    def is_awaited(self, name: str) -> bool:
        return True

    def _read_while_watched(self) -> None:
        watched_at = time.monotonic()
        while time.monotonic() - watched_at < IDLE_SECONDS:
            gevent.sleep(POLL_SECONDS)
            if self._hub.is_watched(self.stream):
                watched_at = time.monotonic()
            try:
                with self._lock:
                    self._read()
            except LINK_ERRORS as error:
                logger.warning("feed: cannot read: %s", error)
                gevent.sleep(RETRY_SECONDS)
        with self._lock:
            self._forget()
            self._greenlet = None

    def _read(self) -> None:
        """Merge what is new. A bucket whose node is away or that moves is read the next time."""
        commands = [
            ("XRANGE", self._keys.feed(bucket), f"({cursor}", "+", "COUNT", ENTRIES_PER_READ)
            for bucket, cursor in self._cursors.items()
        ]
        answers = self._link.ask(*commands, is_lenient=True)
        for bucket, answer in zip(list(self._cursors), answers, strict=True):
            if answer and not isinstance(answer, ResponseError):
                self._cursors[bucket] = answer[-1][0].decode()
                self._merge(raw_entries(answer))

    def _merge(self, entries: list[StreamEntry]) -> None:
        for entry in entries:
            self._sequence += 1
            merged = StreamEntry(self._cursor(self._sequence).encode(), entry.raw_type, entry.payload)
            self._entries.append(merged)
            self._hub.publish(self.stream, merged)

    def _forget(self) -> None:
        """Let no cursor be known any more: what comes now is not read."""
        self._epoch = secrets.randbits(62)
        self._sequence = 0
        self._entries: deque[StreamEntry] = deque(maxlen=FEED_LENGTH)
        self._cursors: dict[int, str] = {}

    def _cursor(self, sequence: int) -> str:
        return f"{self._epoch}-{sequence}"
