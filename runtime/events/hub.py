"""The hub: one connection a worker that reads every stream someone on this worker watches.

A viewer costs a bounded queue, not a connection. The bytes are forwarded as they are stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from redis.exceptions import ResponseError

from errors import StorageUnavailable
from runtime.events.connections import LINK_ERRORS, RedisLink
from runtime.events.entries import StreamEntry, raw_entries
from runtime.events.keys import Keys
from runtime.events.viewer import Viewer
from runtime.protocol.cursors import BEGINNING

logger = logging.getLogger(__name__)

BLOCK_MILLISECONDS = 1000
READ_TIMEOUT_SECONDS = 10.0
ENTRIES_PER_READ = 512
FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 2.0
WAKE_RETRY_SECONDS = 0.002
"""Between two CLIENT UNBLOCK; about one call in three finds the reader not yet blocked."""

ControlHandler = Callable[[str, str], None]
"""Takes a message's type and the run id it is about."""


class Hub:
    """Reads streams for viewers, and this worker's control stream for its owner."""

    def __init__(
        self, url: str, keys: Keys, *, worker: str, on_control: ControlHandler, unblock: Callable[[int], None]
    ) -> None:
        self._keys = keys
        self._on_control = on_control
        self._control_key = keys.control(worker).encode()
        self._reader = RedisLink(url, name="greenrun-hub", read_timeout=READ_TIMEOUT_SECONDS)
        self._unblock = unblock
        self._reader_id: int | None = None
        self._cursors: dict[bytes, str] = {self._control_key: BEGINNING}
        self._readers: set[Viewer] = set()
        self._viewers: dict[bytes, set[Viewer]] = {}
        self._cutting = False
        self._joins = 0
        self._joins_seen = 0
        self._joined = Event()
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    @property
    def viewer_count(self) -> int:
        """Readers of any run, also those that still read its history."""
        return len(self._readers)

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._read_for_ever), gevent.spawn(self._wake_for_ever)]

    def admit(self, viewer: Viewer) -> None:
        """Know of a reader from its beginning to its ``leave``."""
        self._readers.add(viewer)
        if self._cutting:
            viewer.cut()

    def join(self, viewer: Viewer, *, cursor: str) -> None:
        """Begin to fill a viewer. ``cursor`` is where to begin reading if nobody watches the run yet."""
        key = self._keys.events(viewer.run_id).encode()
        self._viewers.setdefault(key, set()).add(viewer)
        if key not in self._cursors:
            self._cursors[key] = cursor
            self._joins += 1
            self._joined.set()

    def leave(self, viewer: Viewer) -> None:
        """Forget a reader; the last one that watched a run ends the reading of its stream."""
        self._readers.discard(viewer)
        key = self._keys.events(viewer.run_id).encode()
        viewers = self._viewers.get(key, set())
        viewers.discard(viewer)
        if not viewers:
            self._viewers.pop(key, None)
            self._cursors.pop(key, None)

    def cut_all(self) -> None:
        """Make every reader leave, and those that come later."""
        self._cutting = True
        for viewer in self._readers:
            viewer.cut()

    def abandon_all(self) -> None:
        """End every reader that has not left although it was cut."""
        for viewer in list(self._readers):
            viewer.abandon()

    def close(self) -> None:
        gevent.killall(self._greenlets)
        self._reader.close()

    def _read_for_ever(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                if not self._reader.is_open:
                    self._reader.open()
                    self._reader_id = self._reader.call("CLIENT", "ID")
                self._forward(self._read())
                delay = FIRST_RETRY_SECONDS
            except (*LINK_ERRORS, ResponseError) as error:
                logger.warning("event hub: cannot read, trying again in %g seconds: %s", delay, error)
                self._reader_id = None
                self._reader.close()
                gevent.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    def _read(self) -> list[tuple[bytes, list[StreamEntry]]]:
        self._joins_seen = self._joins
        cursors = self._cursors
        answer: Any = self._reader.call(
            "XREAD", "COUNT", ENTRIES_PER_READ, "BLOCK", BLOCK_MILLISECONDS, "STREAMS", *cursors, *cursors.values()
        )
        return [(key, raw_entries(raw)) for key, raw in answer or ()]

    def _forward(self, streams: list[tuple[bytes, list[StreamEntry]]]) -> None:
        for key, entries in streams:
            if key in self._cursors:
                self._cursors[key] = entries[-1].cursor
            if key == self._control_key:
                for entry in entries:
                    self._on_control(entry.event_type, entry.payload.decode())
            else:
                self._fan_out(key, entries)

    def _fan_out(self, key: bytes, entries: list[StreamEntry]) -> None:
        for viewer in self._viewers.get(key, ()):
            for entry in entries:
                viewer.offer(entry)
        if entries[-1].is_terminal:
            self._cursors.pop(key, None)

    def _wake_for_ever(self) -> None:
        """Make the reader take up new streams at once and not only after its blocking read."""
        while True:
            self._joined.wait()
            self._joined.clear()
            while self._joins_seen < self._joins:
                self._unblock_reader()
                gevent.sleep(WAKE_RETRY_SECONDS)

    def _unblock_reader(self) -> None:
        if self._reader_id is None:
            gevent.sleep(FIRST_RETRY_SECONDS)
            return
        try:
            self._unblock(self._reader_id)
        except StorageUnavailable as error:
            logger.warning("event hub: could not wake the reader: %s", error.__cause__)
