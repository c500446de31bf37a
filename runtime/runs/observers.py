"""Observers: parts of this service that react to the end of runs.

The script that ends a run also announces the end, in a stream that outlives the process. Each end is delivered to each
observer at least once, on one of the workers. It is delivered again, perhaps on another worker, until the observer has
acknowledged it. An observer therefore first writes its result in a way that a repetition does not change, and only then
acknowledges.

The process that has ended a run delivers the end at once. If that process is lost, another one delivers it a moment
later.
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
"""A worker with this many unacknowledged ends in one bucket reads no more of them until some are acknowledged."""
LOOK_SECONDS = 2.0
"""How long an end may wait when the process that announced it was lost."""
TIDY_SECONDS = 5.0
IDLE_SECONDS = 15.0
"""An end that was not acknowledged for this long is delivered again, perhaps to another worker."""
AWAY_SECONDS = 3600.0
"""A worker that was away for this long, with nothing left to acknowledge, is forgotten."""
MOST_DELIVERIES = 20
"""An end whose delivery has failed this often is given up: otherwise nothing after it could ever be trimmed."""
ALARM_ENDS = MOST_ENDS // 2
ALARM_SECONDS = 60.0
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class HeardEnd:
    """An announced end that an observer has received and must acknowledge."""

    end: AnnouncedEnd
    acknowledge: Callable[[], None] = field(repr=False)
    """Called once the observer has written its result. Never blocks, and may be called later and more than once."""


Handler = Callable[[Sequence[HeardEnd]], None]
"""Reacts to ends and acknowledges them. It is called again after it has raised an exception."""
AtOnce = Callable[[AnnouncedEnd], None]
"""Called in the process that has ended the run, before any handler. Must not block; after a crash it is not called."""


class Observers:
    """The observers of this worker. Services register theirs before the runtime starts."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._at_once: list[AtOnce] = []
        self._by_bucket: dict[int, list[_Observation]] = {}
        self._bucket: Callable[[str], int] = lambda run_id: 0

    def register(self, name: str, handle: Handler, *, at_once: AtOnce | None = None) -> None:
        """Has ``handle`` called with ended runs, from where the observer of this ``name`` stopped before."""
        self._handlers[name] = handle
        if at_once is not None:
            self._at_once.append(at_once)

    @property
    def is_there(self) -> bool:
        """Whether any observer is registered."""
        return bool(self._handlers)

    @property
    def is_busy(self) -> bool:
        """Whether an observer is handling an end on this worker, or is about to."""
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
        """Delivers an end that this process has just announced."""
        for tell in self._at_once:
            tell(end)
        for one in self._by_bucket.get(self._bucket(end.run_id), ()):
            one.look()

    def stop(self) -> None:
        """Stops receiving ends: they are left to other workers."""
        for bucket in self._by_bucket.values():
            for one in bucket:
                one.stop()

    def close(self) -> None:
        """Stops, and sends the pending acknowledgements. All other ends are delivered to another worker."""
        self.stop()
        for bucket in self._by_bucket.values():
            for one in bucket:
                one.close()


class _Observation:
    """Receives the ends of one bucket for one observer, in its own greenlet."""

    def __init__(self, name: str, handle: Handler, stream: EndStream, bucket: int) -> None:
        self._name = name
        self._handle = handle
        self._stream = stream
        self._bucket = bucket
        self._news = Event()
        self._under_way: dict[str, float] = {}
        """The entries that were received and are not acknowledged yet, each with the time when it was received."""
        self._acknowledged: list[str] = []
        self._tidied_at = time.monotonic() - random.uniform(0, TIDY_SECONDS)  # noqa: S311 (staggers the buckets)
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
        """Delivers all new ends. Raises one of LINK_ERRORS, or ResponseError."""
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
            del self._under_way[entry_id]  # it is delivered again
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
        """Has the observer handle these ends: all together, and one by one if that fails."""
        heard = [one for entry in entries if (one := self._heard(entry)) is not None]
        if heard and not self._try(heard) and len(heard) > 1:
            for one in heard:
                self._try([one])

    def _heard(self, entry: EndEntry) -> HeardEnd | None:
        self._under_way[entry.entry_id] = time.monotonic()
        try:
            end = AnnouncedEnd.model_validate_json(entry.payload)
        except ValidationError:  # written by a newer version
            logger.warning("ends: %s: cannot read %s", self._name, entry.entry_id)
            return None
        return HeardEnd(end, lambda: self._acknowledge(entry.entry_id))

    def _try(self, heard: Sequence[HeardEnd]) -> bool:
        """Returns False when the observer has failed. While something that it needs is unavailable, it is retried."""
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
            except Exception:  # a failure for one end must not keep the observer from receiving others
                logger.exception("ends: %s: failed for %d ends", self._name, len(heard))
                return False
            gevent.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    def _acknowledge(self, entry_id: str) -> None:
        if self._under_way.pop(entry_id, None) is not None:
            self._acknowledged.append(entry_id)
            self._news.set()

    def _send_acknowledged(self) -> None:
        """Sends the acknowledgements. Raises one of LINK_ERRORS, or ResponseError; then they are sent later."""
        entry_ids = list(self._acknowledged)
        if entry_ids:
            self._stream.acknowledge(self._name, self._bucket, entry_ids)
            self._acknowledged = self._acknowledged[len(entry_ids) :]
