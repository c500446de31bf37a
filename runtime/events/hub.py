"""The hub: delivers events to all subscribers on this worker.

The events of runs that this worker executes come from its own log, as soon as Redis has stored them. The streams of all
other runs are read over one connection, or in a cluster over one per bucket with subscribers. A subscriber costs a
bounded queue, not a connection, and the bytes are forwarded as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from runtime.events.entries import StreamEntry
from runtime.events.stream_reader import EntriesHandler, StreamReader
from runtime.events.subscriber import Subscriber
from runtime.protocol.cursors import BEGINNING

ControlHandler = Callable[[str, str], None]
"""Receives a message's type and the id of the run that it is about."""


class Readers(Protocol):
    """Creates the stream readers of a hub."""

    def group(self, stream: str) -> int:
        """Returns the group of a stream. Streams of one group are read together."""

    def reader(self, stream: str, on_entries: EntriesHandler) -> StreamReader:
        """Returns a reader for the group of this stream."""


class Hub:
    """Fills subscribers, and reads this worker's control stream."""

    def __init__(self, readers: Readers, control_stream: str, *, on_control: ControlHandler) -> None:
        self._on_control = on_control
        self._control_stream = control_stream
        self._make = readers
        self._sources: dict[int, StreamReader] = {}
        self._owned: set[str] = set()
        self._readers: set[Subscriber] = set()
        self._endless: set[Subscriber] = set()
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._cutting = False
        self._cutting_endless = False

    @property
    def subscriber_count(self) -> int:
        """The readers of any stream, including those that are still reading its history."""
        return len(self._readers)

    def start(self) -> None:
        self._read_from(self._control_stream, BEGINNING)

    def own(self, stream: str) -> None:
        """Notes that this worker now writes the stream and publishes its entries, so that it is not read from Redis."""
        self._owned.add(stream)
        self._forget(stream)  # it may be read for a subscriber that waited for it to begin

    def owns(self, stream: str) -> bool:
        return stream in self._owned

    def is_watched(self, stream: str) -> bool:
        return stream in self._owned and stream in self._subscribers

    def publish(self, stream: str, entry: StreamEntry) -> None:
        """Delivers an entry of an owned stream, which Redis has stored, to the stream's subscribers."""
        for subscriber in self._subscribers.get(stream, ()):
            subscriber.offer(entry)
        if entry.is_terminal:
            self._owned.discard(stream)

    def disown(self, stream: str, *, cursor: str) -> None:
        """Notes that others may write the stream after ``cursor``: its remaining subscribers get that from Redis."""
        if stream not in self._owned:
            return
        self._owned.discard(stream)
        if stream in self._subscribers:
            self._read_from(stream, cursor)

    def admit(self, subscriber: Subscriber, *, is_endless: bool = False) -> None:
        """Registers a reader until its ``leave``. An endless one does not wait for the end of a run."""
        self._readers.add(subscriber)
        if is_endless:
            self._endless.add(subscriber)
        if self._cutting or (is_endless and self._cutting_endless):
            subscriber.cut()

    def join_owned(self, subscriber: Subscriber) -> bool:
        """Begins to fill a subscriber of an owned stream. Returns False if this worker does not own the stream."""
        if subscriber.stream not in self._owned:
            return False
        self._subscribers.setdefault(subscriber.stream, set()).add(subscriber)
        return True

    def join(self, subscriber: Subscriber, *, cursor: str) -> None:
        """Begins to fill a subscriber. ``cursor`` is where reading begins if the stream has no subscribers yet."""
        self._subscribers.setdefault(subscriber.stream, set()).add(subscriber)
        if subscriber.stream not in self._owned and not self._is_read(subscriber.stream):
            self._read_from(subscriber.stream, cursor)

    def leave(self, subscriber: Subscriber) -> None:
        """Removes a reader. When a stream's last subscriber leaves, the stream is no longer read."""
        self._readers.discard(subscriber)
        self._endless.discard(subscriber)
        subscribers = self._subscribers.get(subscriber.stream, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._subscribers.pop(subscriber.stream, None)
            self._forget(subscriber.stream)

    def cut_endless(self) -> None:
        """Cuts the endless readers, present and future, because they would delay a worker's stop without a run."""
        self._cutting_endless = True
        for subscriber in self._endless:
            subscriber.cut()

    def cut_all(self) -> None:
        """Cuts all readers, present and future."""
        self._cutting = True
        for subscriber in self._readers:
            subscriber.cut()

    def abandon_all(self) -> None:
        """Kills every reader that was cut but has not left."""
        for subscriber in list(self._readers):
            subscriber.abandon()

    def close(self) -> None:
        for source in list(self._sources.values()):
            source.close()

    def _read_from(self, stream: str, cursor: str) -> None:
        group = self._make.group(stream)
        source = self._sources.get(group)
        if source is not None and not source.has_ended:
            source.read_from(stream, cursor)
            return
        self._sources[group] = source = self._make.reader(stream, self._take)
        source.read_from(stream, cursor)
        source.start()

    def _is_read(self, stream: str) -> bool:
        source = self._sources.get(self._make.group(stream))
        return source is not None and source.reads(stream)

    def _forget(self, stream: str) -> None:
        source = self._sources.get(self._make.group(stream))
        if source is not None:
            source.forget(stream)

    def _take(self, stream: str, entries: list[StreamEntry]) -> None:
        if stream == self._control_stream:
            for entry in entries:
                self._on_control(entry.event_type, entry.payload.decode())
        else:
            self._fan_out(stream, entries)

    def _fan_out(self, stream: str, entries: list[StreamEntry]) -> None:
        for subscriber in self._subscribers.get(stream, ()):
            for entry in entries:
                subscriber.offer(entry)
        if entries[-1].is_terminal:
            self._forget(stream)
