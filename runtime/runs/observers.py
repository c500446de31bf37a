"""Observers: who has to hear of ended runs.

The step that ends a run also announces its end, in a stream that outlives the process. Each observer hears of every
end at least once, on one of the workers: again, and on another one, until it has acknowledged it. So it writes a fact
of its own that a repeat does not change, and acknowledges only then.

The process that has ended a run looks at once. Were it lost in between, another one looks a moment later.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import gevent
from gevent.event import Event
from pydantic import ValidationError
from redis.exceptions import ResponseError

from errors import GreenrunError
from runtime.events.connections import LINK_ERRORS
from runtime.events.end_stream import MOST_ENDS, EndEntry, EndStream
from runtime.protocol.announcements import AnnouncedEnd

logger = logging.getLogger(__name__)

PAGE_ENDS = 100
MOST_UNACKNOWLEDGED = 500
"""A worker with so many ends of one bucket under way hears of no more until some are acknowledged."""
LOOK_SECONDS = 2.0
"""How long an end may wait that nobody hears of because its process was lost."""
TIDY_SECONDS = 5.0
IDLE_SECONDS = 15.0
"""An end that was not acknowledged for so long is told again, perhaps to another worker."""
AWAY_SECONDS = 3600.0
"""A worker that was away for so long, with nothing left to do, is forgotten."""
MOST_DELIVERIES = 20
"""What fails so often is given up, or nothing behind it could ever be cut off."""
ALARM_ENDS = MOST_ENDS // 2
ALARM_SECONDS = 60.0
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class HeardEnd:
    """An announced end that waits to be acknowledged."""

    end: AnnouncedEnd
    acknowledge: Callable[[], None] = field(repr=False)
    """The observer's own fact is written. Never waits, and may be called later, and more than once."""


Handler = Callable[[Sequence[HeardEnd]], None]
"""Does what ends call for, and acknowledges them. What it raises is tried again."""
AtOnce = Callable[[AnnouncedEnd], None]
"""Told of an end in the process that has ended the run, before any handler, and perhaps never. Never waits."""


class Observers:
    """The observers of this worker. Services register theirs before the runtime starts."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._at_once: list[AtOnce] = []
        self._by_bucket: dict[int, list[_Observation]] = {}
        self._bucket: Callable[[str], int] = lambda run_id: 0

    def register(self, name: str, handle: Handler, *, at_once: AtOnce | None = None) -> None:
        """Tell ``handle`` of ended runs. What was announced under a ``name`` before goes on where it was."""
        self._handlers[name] = handle
        if at_once is not None:
            self._at_once.append(at_once)

    @property
    def is_there(self) -> bool:
        """Whether anybody has to hear of ends."""
        return bool(self._handlers)

    @property
    def is_busy(self) -> bool:
        """Whether an observer is about to hear of an end of this worker, or is being told of one."""
        return any(one.is_busy for bucket in self._by_bucket.values() for one in bucket)

    def start(self, stream: EndStream) -> None:
        self._bucket = stream.bucket
        for bucket in stream.buckets:
            self._by_bucket[bucket] = [
                _Observation(name, handle, stream, bucket) for name, handle in self._handlers.items()
            ]
            for one in self._by_bucket[bucket]:
                one.start()

    def announced(self, end: AnnouncedEnd) -> None:
        """This process has just announced the end of a run."""
        for tell in self._at_once:
            tell(end)
        for one in self._by_bucket.get(self._bucket(end.run_id), ()):
            one.look()

    def stop(self) -> None:
        """Hear of no more ends: they are left to other workers."""
        for bucket in self._by_bucket.values():
            for one in bucket:
                one.stop()

    def close(self) -> None:
        """Stop, and send what was acknowledged. The rest is told to another worker."""
        self.stop()
        for bucket in self._by_bucket.values():
            for one in bucket:
                one.close()


class _Observation:
    """What one observer hears of one bucket, in a greenlet of its own."""

    def __init__(self, name: str, handle: Handler, stream: EndStream, bucket: int) -> None:
        self._name = name
        self._handle = handle
        self._stream = stream
        self._bucket = bucket
        self._news = Event()
        self._under_way: dict[str, float] = {}
        """When each entry was heard that is not acknowledged."""
        self._acknowledged: list[str] = []
        self._tidied_at = time.monotonic() - random.uniform(0, TIDY_SECONDS)  # noqa: S311 (so that buckets do not meet)
        self._alarmed_at = -ALARM_SECONDS
        self._is_hearing = False
        self._greenlet: gevent.Greenlet[..., None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._greenlet is not None and (self._news.is_set() or self._is_hearing)

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._hear_for_ever)

    def look(self) -> None:
        self._news.set()

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def close(self) -> None:
        try:
            self._send_acknowledged()
        except (*LINK_ERRORS, ResponseError):
            logger.info("ends: %s: some will be told again: Redis is away", self._name)

    def _hear_for_ever(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            self._news.wait(LOOK_SECONDS)
            self._is_hearing = True
            try:
                self._hear()
                delay = FIRST_RETRY_SECONDS
            except (*LINK_ERRORS, ResponseError) as error:
                logger.warning("ends: %s: cannot look, trying again in %g seconds: %s", self._name, delay, error)
                gevent.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)
            finally:
                self._is_hearing = False

    def _hear(self) -> None:
        """All that is new. Raises one of LINK_ERRORS, or ResponseError."""
        has_more = True
        while has_more:
            self._send_acknowledged()
            if len(self._under_way) >= MOST_UNACKNOWLEDGED:
                self._news.clear()  # an acknowledgement sets it again
                break
            self._news.clear()
            entries = self._stream.read(self._name, self._bucket, limit=PAGE_ENDS)
            self._tell(entries)
            has_more = len(entries) == PAGE_ENDS or self._news.is_set()
        if time.monotonic() - self._tidied_at >= TIDY_SECONDS:
            self._tidy()

    def _tidy(self) -> None:
        now = self._tidied_at = time.monotonic()
        for entry_id in [one for one, heard in self._under_way.items() if now - heard > IDLE_SECONDS]:
            del self._under_way[entry_id]  # it is told again
        tidied = self._stream.tidy(
            self._name,
            self._bucket,
            idle_seconds=IDLE_SECONDS,
            away_seconds=AWAY_SECONDS,
            limit=PAGE_ENDS,
            deliveries=MOST_DELIVERIES,
        )
        if tidied.given_up:
            logger.error("ends: %s: gave up on %d that failed every time", self._name, len(tidied.given_up))
        if tidied.length > ALARM_ENDS and now - self._alarmed_at >= ALARM_SECONDS:
            self._alarmed_at = now
            logger.error("ends: %d wait for the slowest observer; at %d the oldest are lost", tidied.length, MOST_ENDS)
        self._tell(tidied.taken)

    def _tell(self, entries: Sequence[EndEntry]) -> None:
        """Have the observer do what these ends call for, one by one where all together fail."""
        heard = [one for entry in entries if (one := self._heard(entry)) is not None]
        if heard and not self._try(heard) and len(heard) > 1:
            for one in heard:
                self._try([one])

    def _heard(self, entry: EndEntry) -> HeardEnd | None:
        self._under_way[entry.entry_id] = time.monotonic()
        try:
            end = AnnouncedEnd.model_validate_json(entry.payload)
        except ValidationError:  # of a version to come
            logger.warning("ends: %s: cannot read %s", self._name, entry.entry_id)
            return None
        return HeardEnd(end, lambda: self._acknowledge(entry.entry_id))

    def _try(self, heard: Sequence[HeardEnd]) -> bool:
        """False when the observer has failed. While what it needs is away it is tried again and again."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                self._handle(heard)
                return True
            except GreenrunError as error:
                if error.status < 500:
                    logger.warning("ends: %s: failed for %d ends: %s", self._name, len(heard), error)
                    return False
                logger.warning("ends: %s: %d wait, trying again: %s", self._name, len(heard), error.code)
            except Exception:  # one end's trouble must not keep the observer from hearing of others
                logger.exception("ends: %s: failed for %d ends", self._name, len(heard))
                return False
            gevent.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    def _acknowledge(self, entry_id: str) -> None:
        if self._under_way.pop(entry_id, None) is not None:
            self._acknowledged.append(entry_id)
            self._news.set()

    def _send_acknowledged(self) -> None:
        """Raises one of LINK_ERRORS, or ResponseError; then they are sent later."""
        entry_ids = list(self._acknowledged)
        if entry_ids:
            self._stream.acknowledge(self._name, self._bucket, entry_ids)
            self._acknowledged = self._acknowledged[len(entry_ids) :]
