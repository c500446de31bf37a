"""Logs of runs whose items are collected instead of written."""

from __future__ import annotations

from collections.abc import Callable

from runtime.events.entries import StreamEntry
from runtime.events.keys import Keys
from runtime.events.log_items import LogItem
from runtime.events.run_log import LossReason, RunLog
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import Event, EventEncoder, RunEnd
from runtime.protocol.ids import new_id
from runtime.protocol.records import RunRecord

KEYS = Keys("test")
SUCCEEDED = RunEnd.succeeded(output="done", snapshot={"schema_version": 1, "layers": []}, usage=None)


class Sink:
    """Records what a log reports to the hub about streams."""

    def __init__(self) -> None:
        self.owned: set[str] = set()
        self.published: list[str] = []
        self.disowned_at: list[str] = []

    def own(self, stream: str) -> None:
        self.owned.add(stream)

    def is_watched(self, stream: str) -> bool:
        return stream in self.owned

    def publish(self, stream: str, entry: StreamEntry) -> None:
        self.published.append(entry.cursor)

    def disown(self, stream: str, *, cursor: str) -> None:
        self.owned.discard(stream)
        self.disowned_at.append(cursor)


class Listener:
    """Records the announced ends."""

    def __init__(self, *, is_there: bool = True) -> None:
        self.is_there = is_there
        self.ends: list[AnnouncedEnd] = []

    def announced(self, end: AnnouncedEnd) -> None:
        self.ends.append(end)


class GatheredLog:
    """The log of one run that has begun, with the items that it queues and what it reports to others."""

    def __init__(self, put: Callable[[LogItem], None] | None = None, *, max_bytes: int = 1_000_000) -> None:
        self.record = RunRecord.begin(new_id(), dialect=Dialect.CURRENT, worker="worker", tenant_id="acme")
        self.encoder = EventEncoder(self.record.run_id, Dialect.CURRENT)
        self.sink, self.listener = Sink(), Listener()
        self.items: list[LogItem] = []
        self.losses: list[LossReason] = []
        self.log = RunLog(
            self.record,
            KEYS,
            put or self.items.append,
            self.sink,
            self.listener,
            retention_seconds=60,
            max_bytes=max_bytes,
        )
        self.log.on_loss = self.losses.append
        self.sink.own(self.log.stream)

    @property
    def event(self) -> Event:
        return self.encoder.started()

    def append(self, count: int = 1) -> list[LogItem]:
        """Queues this many events and returns their items."""
        for _ in range(count):
            self.log.append(self.event)
        return self.items[-count:]

    def end(self) -> LogItem:
        self.log.end(SUCCEEDED)
        return self.items[-1]

    def touch(self) -> LogItem:
        self.log.touch()
        return self.items[-1]
