"""The event log: one greenlet per worker that writes what all its runs have queued, one batch after another.

There is no timer: while one batch is being sent, the next one collects. Every event has an explicit id, so that a batch
can be sent again after a lost answer: Redis refuses what it already has.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import gevent
from gevent.event import Event
from redis.exceptions import ResponseError

from runtime.events.batch import PASSING, TRIED_AGAIN, Meaning, read_answers, take_batch
from runtime.events.connections import LINK_ERRORS, Command, Link, is_from_replica
from runtime.events.end_stream import EndListener
from runtime.events.keys import Keys
from runtime.events.log_items import Append, End, LogItem, Touch
from runtime.events.run_log import RunLog
from runtime.events.scripts import load_script
from runtime.events.sink import EventSink
from runtime.protocol.events import RunEnd
from runtime.protocol.records import RunRecord

logger = logging.getLogger(__name__)

MAX_ITEMS_BEFORE_ABANDONED = 2000
"""With more items to write, ends of runs that may not exist are left to the reaper, as nobody renews their leases."""
READ_TIMEOUT_SECONDS = 5.0
FIRST_RETRY_SECONDS = 0.05
LONGEST_RETRY_SECONDS = 2.0
LONGEST_TOUCH_INTERVAL_SECONDS = 30.0


class LogKeeper(Protocol):
    """Writes for the runs of a worker; ``EventLog`` implements it."""

    def start(self) -> None: ...

    def open_run(self, record: RunRecord) -> RunLog: ...

    def abandon(self, record: RunRecord, end: RunEnd) -> None: ...

    def close_run(self, run_log: RunLog) -> None: ...

    def flush(self, timeout: float) -> bool: ...

    def close(self) -> None: ...


def log_greeting() -> list[Command]:
    """Returns the commands that must be sent first on each connection of a log."""
    return [("SCRIPT", "LOAD", load_script("end_run").text)]


class EventLog:
    """Writes the events, the lifetimes and the ends of this worker's runs. ``link`` must have sent ``log_greeting``."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        sink: EventSink,
        listener: EndListener,
        *,
        retention_seconds: int,
        max_run_bytes: int,
    ) -> None:
        self._link = link
        self._keys = keys
        self._sink = sink
        self._listener = listener
        self._retention = retention_seconds
        self._max_run_bytes = max_run_bytes
        self._items: deque[LogItem] = deque()
        self._live: set[RunLog] = set()
        self._arrived = Event()
        self._idle = Event()
        self._idle.set()
        self._is_refused = False
        self._closed = False
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._write_for_ever), gevent.spawn(self._touch_for_ever)]

    def open_run(self, record: RunRecord) -> RunLog:
        """Opens the log of a run. Its record is stored, and so is its first event unless the run waits."""
        run_log = self._run_log(record)
        self._live.add(run_log)
        self._sink.own(run_log.stream)
        return run_log

    def abandon(self, record: RunRecord, end: RunEnd) -> None:
        """Ends a run that may or may not have been stored, as soon as Redis can be reached."""
        if len(self._items) < MAX_ITEMS_BEFORE_ABANDONED:
            self._run_log(record).end(end)

    def close_run(self, run_log: RunLog) -> None:
        """Forgets a run: its lifetime is no longer renewed."""
        self._live.discard(run_log)
        self._sink.disown(run_log.stream, cursor=run_log.cursor)

    def flush(self, timeout: float) -> bool:
        """Waits until everything is written. Returns False if ``timeout`` seconds were not enough."""
        return bool(self._idle.wait(timeout))

    def close(self) -> None:
        """Stops. Items that are not written yet are lost; call ``flush`` before."""
        self._closed = True
        gevent.killall(self._greenlets)
        self._link.close()

    def _run_log(self, record: RunRecord) -> RunLog:
        return RunLog(
            record,
            self._keys,
            self._put,
            self._sink,
            self._listener,
            retention_seconds=self._retention,
            max_bytes=self._max_run_bytes,
        )

    def _put(self, item: LogItem) -> None:
        self._items.append(item)
        self._idle.clear()
        self._arrived.set()

    def _write_for_ever(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            self._arrived.wait()
            batch = self._take_batch()
            if batch and self._hand_out(batch, *self._write(batch)):
                gevent.sleep(delay)  # Redis refuses for now; the refused items are first in the queue again
                delay = min(delay * 2, LONGEST_RETRY_SECONDS) if self._is_refused else FIRST_RETRY_SECONDS
            else:
                delay = FIRST_RETRY_SECONDS
            if not self._items:
                self._is_refused = False
                self._arrived.clear()
                self._idle.set()

    def _take_batch(self) -> list[LogItem]:
        batch, unwanted = take_batch(self._items, one_a_run=self._is_refused)
        for item in unwanted:
            item.run_log.release(item)
        return batch

    def _write(self, batch: Sequence[LogItem]) -> tuple[list[Any], bool]:
        """Returns the answers, one per item, and whether the batch had been sent before."""
        commands: list[Command] = [item.command for item in batch]
        delay = FIRST_RETRY_SECONDS
        repeated = False
        while True:
            try:
                if not self._link.is_open:
                    self._link.open()
                return self._link.call_all(commands), repeated
            except (*LINK_ERRORS, ResponseError) as error:
                logger.warning("event log: cannot write, %d commands wait: %s", len(commands), error)
                self._link.close()
                repeated = True
                gevent.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    def _hand_out(self, batch: Sequence[LogItem], answers: Sequence[Any], repeated: bool) -> bool:
        """Passes the answers to their runs. Items that Redis refused for now are queued again, in order.

        Returns True if the log must pause before it writes again.
        """
        meanings = read_answers(batch, answers, repeated=repeated)
        again: list[LogItem] = []
        for item, answer, meaning in zip(batch, answers, meanings, strict=True):
            if meaning is not Meaning.WRITTEN and meaning in TRIED_AGAIN:
                item.repeated = item.repeated or repeated
                again.append(item)
                continue
            try:
                _tell(item, meaning, answer)
            except Exception:  # a failure for one run must not stop the writing for all others
                logger.exception("event log: run %s: an answer could not be taken", item.run_log.run_id)
        return bool(again) and self._put_back(again, meanings, answers)

    def _put_back(self, again: list[LogItem], meanings: Sequence[Meaning], answers: Sequence[Any]) -> bool:
        """Queues items again before all others. Returns True if they must not be retried at once."""
        self._items.extendleft(reversed(again))
        # A new connection may lead to the master, and loads the script again if it was flushed.
        if Meaning.NO_SCRIPT in meanings or any(map(is_from_replica, answers)):
            self._link.close()
        if Meaning.FULL in meanings:
            self._is_refused = True
            logger.warning("event log: Redis takes no writes, %d commands wait", len(self._items))
        return any(meaning in PASSING for meaning in meanings)

    def _touch_for_ever(self) -> None:
        interval = min(LONGEST_TOUCH_INTERVAL_SECONDS, self._retention / 3)
        while True:
            gevent.sleep(interval)
            for run_log in list(self._live):
                run_log.touch()


def _tell(item: LogItem, meaning: Meaning, answer: Any) -> None:
    match item:
        case Append():
            item.run_log.appended(item, meaning, answer)
        case End():
            item.run_log.ended(item, answer)
        case Touch() if meaning is Meaning.REFUSED:
            logger.error("event log: a lifetime was not renewed: %s", answer)
