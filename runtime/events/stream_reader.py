"""A stream reader: one connection that waits for new entries of many streams."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from redis.exceptions import ResponseError

from runtime.events.connections import LINK_ERRORS, Link
from runtime.events.entries import StreamEntry, raw_entries

logger = logging.getLogger(__name__)

BLOCK_MILLISECONDS = 1000
READ_TIMEOUT_SECONDS = 10.0
ENTRIES_PER_READ = 512
FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 2.0
WAKE_RETRY_SECONDS = 0.002
"""Between two CLIENT UNBLOCK; about one call in three comes before the reader blocks."""

EntriesHandler = Callable[[str, list[StreamEntry]], None]
"""Receives a stream and its next entries, at least one."""


class StreamReader:
    """Reads for as long as it has streams to read, and then ends by itself.

    ``unblock`` wakes the connection with the given id if it is blocked. It raises one of LINK_ERRORS.
    """

    def __init__(self, link: Link, *, on_entries: EntriesHandler, unblock: Callable[[int], None]) -> None:
        self._link = link
        self._on_entries = on_entries
        self._unblock = unblock
        self._connection_id: int | None = None
        self._cursors: dict[str, str] = {}
        self._joins = 0
        self._joins_seen = 0
        self._joined = Event()
        self._greenlets: list[gevent.Greenlet[..., None]] = []
        self.has_ended = False

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._read_for_ever), gevent.spawn(self._wake_for_ever)]

    def reads(self, stream: str) -> bool:
        return stream in self._cursors

    def read_from(self, stream: str, cursor: str) -> None:
        """Begins to read a further stream, after a cursor."""
        self._cursors[stream] = cursor
        self._joins += 1
        self._joined.set()

    def forget(self, stream: str) -> None:
        """Stops reading a stream, if it is read."""
        self._cursors.pop(stream, None)

    def close(self) -> None:
        gevent.killall(self._greenlets)
        self._link.close()

    def _read_for_ever(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while self._cursors:
            try:
                if not self._link.is_open:
                    self._link.open()
                    self._connection_id = self._link.call("CLIENT", "ID")
                self._read()
                delay = FIRST_RETRY_SECONDS
            except (*LINK_ERRORS, ResponseError) as error:
                logger.warning("event hub: cannot read, trying again in %g seconds: %s", delay, error)
                self._connection_id = None
                self._link.close()
                gevent.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)
        self.has_ended = True
        self._greenlets[1].kill(block=False)
        self._link.close()

    def _read(self) -> None:
        self._joins_seen = self._joins
        asked = dict(self._cursors)
        answer: Any = self._link.call(
            "XREAD", "COUNT", ENTRIES_PER_READ, "BLOCK", BLOCK_MILLISECONDS, "STREAMS", *asked, *asked.values()
        )
        for raw_stream, raw in answer or ():
            stream, entries = raw_stream.decode(), raw_entries(raw)
            if self._cursors.get(stream) == asked[stream]:  # else it was forgotten, or is now read from another cursor
                self._cursors[stream] = entries[-1].cursor
                self._on_entries(stream, entries)

    def _wake_for_ever(self) -> None:
        """Makes the reader include new streams at once, and not only after its blocking read."""
        while True:
            self._joined.wait()
            self._joined.clear()
            while self._joins_seen < self._joins:
                self._wake()
                gevent.sleep(WAKE_RETRY_SECONDS)

    def _wake(self) -> None:
        if self._connection_id is None:
            gevent.sleep(FIRST_RETRY_SECONDS)
            return
        try:
            self._unblock(self._connection_id)
        except LINK_ERRORS as error:
            logger.warning("event hub: could not wake the reader: %s", error)
