"""The event log: one greenlet a worker that writes what all its runs have gathered, a batch at a time.

There is no timer: while one batch is on its way the next one gathers. Every event has an explicit id, so that a batch
can be sent again after a lost answer and Redis refuses what it already has.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import gevent
from gevent.event import Event
from redis.exceptions import NoScriptError, ResponseError, TryAgainError

from runtime.events.connections import LINK_ERRORS, Command, Link, is_from_replica, is_passing
from runtime.events.end_stream import EndListener
from runtime.events.keys import Keys
from runtime.events.run_log import Append, End, LogItem, RunLog, Touch
from runtime.events.scripts import load_script
from runtime.events.sink import EventSink
from runtime.events.store import EndOutcome
from runtime.protocol.events import RunEnd
from runtime.protocol.records import RunRecord

logger = logging.getLogger(__name__)

MAX_BATCH_ITEMS = 512
MAX_ITEMS_BEFORE_ABANDONED = 2000
"""With more to write, ends of runs that may not even exist are left to the reaper: nobody renews their leases."""
READ_TIMEOUT_SECONDS = 5.0
FIRST_RETRY_SECONDS = 0.05
LONGEST_RETRY_SECONDS = 2.0
LONGEST_TOUCH_INTERVAL_SECONDS = 30.0


class LogKeeper(Protocol):
    """What writes for the runs of a worker, as ``EventLog`` does."""

    def start(self) -> None: ...

    def open_run(self, record: RunRecord) -> RunLog: ...

    def abandon(self, record: RunRecord, end: RunEnd) -> None: ...

    def close_run(self, run_log: RunLog) -> None: ...

    def flush(self, timeout: float) -> bool: ...

    def close(self) -> None: ...


def log_greeting() -> list[Command]:
    """What must be sent first on each connection of a log."""
    return [("SCRIPT", "LOAD", load_script("end_run").text)]


class EventLog:
    """Writes the events, the lifetimes and the ends of this worker's runs.

    ``link`` has sent ``log_greeting``.
    """

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
        """The log of a run whose record is stored, and its first event unless it waits."""
        run_log = self._run_log(record)
        self._live.add(run_log)
        self._sink.own(run_log.stream)
        return run_log

    def abandon(self, record: RunRecord, end: RunEnd) -> None:
        """End a run that may or may not have been stored, as soon as Redis can be reached."""
        if len(self._items) < MAX_ITEMS_BEFORE_ABANDONED:
            self._run_log(record).end(end)

    def close_run(self, run_log: RunLog) -> None:
        """Forget a run: its lifetime is no longer renewed."""
        self._live.discard(run_log)
        self._sink.disown(run_log.stream, cursor=run_log.cursor)

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written; False when ``timeout`` seconds were not enough."""
        return bool(self._idle.wait(timeout))

    def close(self) -> None:
        """Stop. What is not written by now is lost; call ``flush`` before."""
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
                gevent.sleep(delay)  # Redis takes nothing for now; what it has not taken is first in the queue again
                delay = min(delay * 2, LONGEST_RETRY_SECONDS) if self._is_refused else FIRST_RETRY_SECONDS
            else:
                delay = FIRST_RETRY_SECONDS
            if not self._items:
                self._is_refused = False
                self._arrived.clear()
                self._idle.set()

    def _take_batch(self) -> list[LogItem]:
        """What to write next. Once Redis has refused something it is one item a run, until nothing waits any more.

        Else it could take an event right after it has refused the one before, which it then never takes.
        """
        batch: list[LogItem] = []
        later: list[LogItem] = []
        runs: set[RunLog] = set()
        while self._items and len(batch) + len(later) < MAX_BATCH_ITEMS:
            item = self._items.popleft()
            if item.run_log.is_dropped and isinstance(item, Append):
                item.run_log.release(item)
            elif self._is_refused and item.run_log in runs:
                later.append(item)
            else:
                batch.append(item)
                runs.add(item.run_log)
        self._items.extendleft(reversed(later))
        return batch

    def _write(self, batch: Sequence[LogItem]) -> tuple[list[Any], bool]:
        """The answers, one an item, and whether the batch had been sent before."""
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
        """Hand out the answers. True when Redis has refused some for now: those are queued again, in their order."""
        waiting: list[LogItem] = []
        late: set[RunLog] = set()
        is_refused = False
        for item, answer in zip(batch, answers, strict=True):
            is_behind = isinstance(item, End) and item.run_log in late and _is_behind(answer)
            if is_behind or (isinstance(answer, ResponseError) and is_passing(answer)):
                item.repeated = item.repeated or repeated
                waiting.append(item)
                late.add(item.run_log)
                # What moves from node to node of a cluster is refused alone, and says nothing of other runs.
                is_refused = is_refused or not isinstance(answer, TryAgainError)
                continue
            try:
                if isinstance(item, Append) and item.run_log in late:
                    item.run_log.miss_event()
                self._hand_out_one(item, answer, repeated or item.repeated)
            except Exception:  # one run's trouble must not stop the writing of all others
                logger.exception("event log: run %s: an answer could not be taken", item.run_log.run_id)
        self._items.extendleft(reversed(waiting))
        if any(map(is_from_replica, answers)):
            self._link.close()
        if is_refused:
            self._is_refused = True
            logger.warning("event log: Redis takes no writes, %d commands wait", len(self._items))
        return bool(waiting)

    def _hand_out_one(self, item: LogItem, answer: Any, repeated: bool) -> None:
        match item:
            case Append():
                item.run_log.appended(item, answer, repeated=repeated)
            case End() if isinstance(answer, NoScriptError):
                self._link.close()  # opened again, it loads the script that someone has flushed
                self._items.appendleft(item)
            case End():
                item.run_log.ended(item, answer)
            case Touch() if isinstance(answer, ResponseError):
                logger.error("event log: a lifetime was not renewed: %s", answer)

    def _touch_for_ever(self) -> None:
        interval = min(LONGEST_TOUCH_INTERVAL_SECONDS, self._retention / 3)
        while True:
            gevent.sleep(interval)
            for run_log in list(self._live):
                run_log.touch()


def _is_behind(answer: Any) -> bool:
    return isinstance(answer, list) and answer[0] == EndOutcome.BEHIND.encode()
