"""The reaper: ends the runs of lost workers. Each worker has one, and the first to see a lost run ends it.

A worker is lost when it has not renewed its leases although Redis was available. No run is therefore reaped before
Redis has answered without a break for as long as a lease lasts: by then, a worker that was only cut off by an outage
has renewed its leases. Leases that were given up, because their worker was seen to end, do not wait for that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent
from redis.exceptions import ResponseError

from errors import StorageUnavailable
from runtime.events.connections import LINK_ERRORS
from runtime.events.leases import Leases
from runtime.events.store import EndOutcome, RunStore
from runtime.runs.ends import WORKER_LOST, waited_too_long

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
PAGE_RUNS = 100
SLOW_SECONDS = 2.0
"""A Redis that takes longer than this to answer counts as unavailable."""
BREAK_SECONDS = 3.0
"""The longest time between two answers, by the clock of Redis, without a break: a longer gap may hide an outage."""

OwnerStopper = Callable[[str, str], None]
"""Informs a worker that a run has ended; the arguments are the run's id and the worker's."""


class RedisWatch:
    """Measures how long Redis has answered without a break, by the clock of Redis, which leases also use."""

    def __init__(self, enough_seconds: float) -> None:
        self._enough = enough_seconds
        self._since: float | None = None
        self._last = 0.0

    @property
    def is_long_enough(self) -> bool:
        return self._since is not None and self._last - self._since >= self._enough

    def answered(self, now: float) -> None:
        """Notes an answer that Redis gave at ``now``. A clock that was set restarts the measurement, like an outage."""
        if self._since is None or not 0 <= now - self._last <= BREAK_SECONDS:
            self._since = now
        self._last = now

    def broken(self) -> None:
        """Notes that Redis did not answer, or answered with an error."""
        self._since = None


class Reaper:
    """Reaps lost runs in one greenlet per bucket.

    The reapers of all workers share the work by a lock. Any number of them does no harm.
    """

    def __init__(
        self, leases: Leases, store: RunStore, *, lease_seconds: float, wait_seconds: float, stop_owner: OwnerStopper
    ) -> None:
        self._leases = leases
        self._store = store
        self._stop_owner = stop_owner
        self._lease_seconds = lease_seconds
        self._waited_too_long = waited_too_long(wait_seconds)
        self._complained_at = -PAUSE_SECONDS
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._reap_for_ever, bucket) for bucket in self._leases.buckets]

    def close(self) -> None:
        gevent.killall(self._greenlets)

    def _reap_for_ever(self, bucket: int) -> None:
        watch = RedisWatch(self._lease_seconds)
        while True:
            self._reap_bucket(bucket, watch)
            gevent.sleep(PAUSE_SECONDS)

    def _reap_bucket(self, bucket: int, watch: RedisWatch) -> None:
        has_more = True
        while has_more:
            try:
                run_ids = self._look(bucket, watch)
            except (*LINK_ERRORS, ResponseError) as error:
                self._complain(error)
                watch.broken()
                return
            has_more = self._reap_page(run_ids, watch) and len(run_ids) == PAGE_RUNS

    def _complain(self, error: Exception) -> None:
        """Logs why no run is reaped, but not once for every bucket."""
        now = time.monotonic()
        if now - self._complained_at >= PAUSE_SECONDS:
            self._complained_at = now
            logger.warning("reaper: cannot look for lost runs: %s", error)

    def _look(self, bucket: int, watch: RedisWatch) -> list[str]:
        """Returns the runs to reap. Raises one of LINK_ERRORS, or ResponseError."""
        begun = time.monotonic()
        may_reap = watch.is_long_enough
        expired = self._leases.expired(bucket, limit=PAGE_RUNS, only_given_up=not may_reap)
        if time.monotonic() - begun > SLOW_SECONDS:
            watch.broken()
        watch.answered(expired.now)
        return [] if may_reap and not watch.is_long_enough else expired.run_ids

    def _reap_page(self, run_ids: list[str], watch: RedisWatch) -> bool:
        """Ends the runs, all at the same time. Returns False when some of them could not be ended."""
        jobs = [gevent.spawn(self._reap, run_id, watch) for run_id in run_ids]
        gevent.joinall(jobs)
        return all(job.value for job in jobs)

    def _reap(self, run_id: str, watch: RedisWatch) -> bool:
        try:
            self._end(run_id)
        except (StorageUnavailable, *LINK_ERRORS) as error:
            logger.warning("reaper: run %s: could not be ended: %s", run_id, error.__cause__ or error)
            watch.broken()
            return False
        except Exception:  # a failure for one run must not keep the others running
            logger.exception("reaper: run %s: could not be ended", run_id)
            return False
        return True

    def _end(self, run_id: str) -> None:
        record = self._store.get(run_id)
        if record is None:
            self._leases.remove(run_id)
            return
        end = self._waited_too_long if record.is_in_line else WORKER_LOST
        outcome, _ = self._store.end(record, end, only_expired=True)
        if outcome is EndOutcome.ENDED and record.is_in_line:
            logger.warning("run %s: ended, it has waited too long", run_id)
        elif outcome is EndOutcome.ENDED:
            logger.warning("run %s: ended, its worker %s is lost", run_id, record.worker)
            self._stop_owner(run_id, record.worker)
