"""The event log of one run, written by the run's owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from gevent.event import AsyncResult
from redis.exceptions import ResponseError

from runtime.events.batch import Meaning
from runtime.events.connections import Command
from runtime.events.end_stream import EndListener
from runtime.events.entries import StreamEntry
from runtime.events.keys import Keys
from runtime.events.log_items import Append, End, LogItem, Touch
from runtime.events.scripts import load_script
from runtime.events.sink import EventSink
from runtime.events.store import FIRST_EVENT_ID, EndOutcome, end_arguments
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.events import Event, EventEncoder, RunEnd
from runtime.protocol.ids import new_id
from runtime.protocol.phases import Phase
from runtime.protocol.records import RunRecord

logger = logging.getLogger(__name__)

ATTEMPT = 1
MAX_PENDING_BYTES = 256 * 1024
"""A run that is this far ahead of Redis waits before it produces more events."""

ENTRY_OVERHEAD_BYTES = 100
"""The weight of an entry in addition to its payload."""


class LossReason(StrEnum):
    """Why a run's events are no longer accepted."""

    FENCED = "fenced"
    """Something else has ended the run."""
    STORAGE = "storage"
    """The stream is gone, or Redis refuses the write."""


class EventBytesExceeded(Exception):
    """Raised when the run has written more events than the operator allows."""


class RunLog:
    """Gives each event of a run its id and passes it to the worker's log.

    ``on_loss`` is called once, when Redis no longer accepts the run's events. A waiting run has no events yet.
    """

    def __init__(
        self,
        record: RunRecord,
        keys: Keys,
        put: Callable[[LogItem], None],
        sink: EventSink,
        listener: EndListener,
        *,
        retention_seconds: int,
        max_bytes: int,
    ) -> None:
        has_begun = record.phase is Phase.BEGUN
        self.is_dropped = False
        self.stream = keys.events(record.run_id)
        self.cursor = FIRST_EVENT_ID if has_begun else BEGINNING
        self.on_loss: Callable[[LossReason], None] | None = None
        self._record = record
        self._keys = keys.of_end(record.run_id, record.idempotency_digest)
        self._put = put
        self._sink = sink
        self._listener = listener
        self._retention = retention_seconds
        self._bytes_left = max_bytes
        self._sequence = 1 if has_begun else 0
        self._pending_bytes = 0
        self._room: asyncio.Future[None] | None = None

    def begin(self, event: Event) -> None:
        """Queues the first event of a run that has not begun. It creates the stream, whose lifetime is then set.

        If the run has been ended meanwhile, its stream exists with an id that makes Redis refuse this event.
        """
        self._queue(event)
        self.touch()

    def append(self, event: Event) -> None:
        """Queues an event without waiting. A run that produces many events awaits ``wait_for_room`` between them.

        Raises EventBytesExceeded.
        """
        self._queue(event, "NOMKSTREAM")

    def _queue(self, event: Event, *options: str) -> None:
        if self.is_dropped:
            return
        weight = len(event.payload) + ENTRY_OVERHEAD_BYTES
        self._bytes_left -= weight
        if self._bytes_left < 0:
            raise EventBytesExceeded
        self._sequence += 1
        entry_id = f"{ATTEMPT}-{self._sequence}"
        self._pending_bytes += weight
        command: Command = ("XADD", self.stream, *options, entry_id, "type", event.type, "payload", event.payload)
        self._put(Append(self, command, weight, entry_id, event))

    @property
    def run_id(self) -> str:
        return self._record.run_id

    @property
    def is_full(self) -> bool:
        return self._pending_bytes > MAX_PENDING_BYTES

    async def wait_for_room(self) -> None:
        """Waits until Redis has stored enough of what is queued."""
        while self.is_full and not self.is_dropped:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def end(self, end: RunEnd) -> AsyncResult[EndOutcome | None]:
        """Queues the end of the run after its events. The outcome is None when Redis refused the script."""
        event = EventEncoder(self._record.run_id, self._record.dialect).ended(end)
        announced = AnnouncedEnd.of(self._record, end) if self._listener.is_there else None
        arguments = end_arguments(
            self._record,
            end,
            event,
            token=new_id(),
            retention_seconds=self._retention,
            announced=announced,
            length=0 if self.is_dropped else self._sequence,
        )
        keys = self._keys
        item = End(self, ("EVALSHA", load_script("end_run").sha, len(keys), *keys, *arguments), event, announced)
        self._put(item)
        return item.done

    def touch(self) -> None:
        """Queues renewals of the lifetimes of everything stored for the run."""
        record, events, _, _, _, *idempotency = self._keys
        for key in (record, events, *idempotency):
            self._put(Touch(self, ("EXPIRE", key, self._retention)))

    def drop(self) -> None:
        """Drops what is queued, because the run has ended elsewhere."""
        self.is_dropped = True
        self._give_room()

    def release(self, item: Append) -> None:
        """Notes that an event has left the queue, written or not."""
        self._pending_bytes -= item.weight
        if not self.is_full:
            self._give_room()

    def appended(self, item: Append, meaning: Meaning, answer: Any) -> None:
        """Handles Redis' final answer to an event."""
        self.release(item)
        match meaning:
            case Meaning.WRITTEN:
                self.cursor = item.entry_id
                self._publish(item.entry_id.encode(), item.event)
            case Meaning.REPEAT:
                self._leave_to_redis()
            case Meaning.LOST:
                self._leave_to_redis()
                self._lose(LossReason.STORAGE)
            case Meaning.FENCED:
                self._lose(LossReason.FENCED)
            case Meaning.GONE:
                self._lose(LossReason.STORAGE)
            case _:
                logger.error("event log: run %s: an event was refused: %s", self._record.run_id, answer)
                self._lose(LossReason.STORAGE)

    def ended(self, item: End, answer: Any) -> None:
        """Handles Redis' answer to the end script."""
        if isinstance(answer, ResponseError):
            logger.error("event log: run %s: its end was refused: %s", self._record.run_id, answer)
            item.done.set(None)
            return
        outcome = EndOutcome(answer[0].decode())
        if outcome is EndOutcome.ENDED and len(answer) > 1:
            self._publish(answer[1], item.event)
        if outcome is EndOutcome.ENDED and item.announced is not None:
            self._listener.announced(item.announced)
        item.done.set(outcome)

    def _leave_to_redis(self) -> None:
        """Stops publishing: subscribers get what is stored after the last published event from Redis."""
        self._sink.disown(self.stream, cursor=self.cursor)

    def _publish(self, cursor: bytes, event: Event) -> None:
        if self._sink.is_watched(self.stream):
            self._sink.publish(self.stream, StreamEntry(cursor, event.type.encode(), event.payload))

    def _lose(self, reason: LossReason) -> None:
        if self.is_dropped:
            return
        self.drop()
        if self.on_loss is not None:
            self.on_loss(reason)

    def _give_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
