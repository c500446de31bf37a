"""The executor of this worker: a greenlet for each of its runs, which owns the run until its end is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event

from errors import ShuttingDown
from runtime.events.log import LogKeeper
from runtime.events.store import EndOutcome
from runtime.execution.active_run import ActiveRun
from runtime.execution.bridge import LoopBridge
from runtime.execution.failures import UNKNOWN, log_unexpected
from runtime.execution.fair_limiter import FairLimiter
from runtime.execution.runner import Runner
from runtime.execution.stray_tasks import leaving_no_tasks
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.jobs import Job
from runtime.protocol.phases import Phase
from runtime.protocol.records import RunRecord
from runtime.runs.ends import SHUTDOWN, STORAGE_LOST
from runtime.runs.executor import Place, StopReason
from runtime.runs.origins import Origins, ProvenRun, RunNotBegun

logger = logging.getLogger(__name__)

REFUSED_END_RETRY_SECONDS = 1.0


class LocalExecutor:
    """An ``Executor``: the runs that this worker has taken on, executing or waiting for a place.

    Each is executed with the hooks of its origin; one whose turn has not come after ``wait_seconds`` ends as failed.
    ``on_start`` is called when there is a new one.
    """

    def __init__(
        self,
        *,
        bridge: LoopBridge,
        runner: Runner,
        limiter: FairLimiter,
        log: LogKeeper,
        origins: Origins,
        wait_seconds: float,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._bridge = bridge
        self._runner = runner
        self._limiter = limiter
        self._log = log
        self._origins = origins
        self._wait_seconds = wait_seconds
        self._on_start = on_start
        self._active: dict[str, ActiveRun] = {}
        self._admitted: set[Place] = set()
        self._closing = self._stopping = False
        self._idle = Event()
        self._idle.set()

    @property
    def active(self) -> list[str]:
        """The ids of the runs that this worker owns."""
        return list(self._active)

    def record_of(self, run_id: str) -> RunRecord | None:
        """The record that a run of this worker began with; None when it owns no such run."""
        run = self._active.get(run_id)
        return run.record if run is not None else None

    @property
    def is_busy(self) -> bool:
        """Whether a run is active or being started."""
        return not self._idle.is_set()

    @contextmanager
    def admit(self, tenant_id: str | None, *, was_accepted: bool = False) -> Iterator[Place]:
        """Hold a place while a run of a tenant is being stored and started in it.

        Raises ShuttingDown, CapacityReached and TenantLimitReached.
        """
        if self._stopping or (self._closing and not was_accepted):
            raise ShuttingDown
        place = self._limiter.take(tenant_id, was_accepted=was_accepted)
        self._admitted.add(place)
        self._idle.clear()
        try:
            yield place
        finally:
            if place in self._admitted:
                self._admitted.discard(place)
                self._limiter.give_back(place)
            self._note_idle()

    def start(self, job: Job, record: RunRecord, place: Place, proven: ProvenRun | None = None) -> None:
        """Execute an admitted job whose record is stored, once its place is one to execute in."""
        hooks, encoder = self._origins.hooks(job), EventEncoder(record.run_id, record.dialect)
        run = ActiveRun(record, encoder, self._log.open_run(record), hooks, place, proven)
        run.log.on_loss = run.lose
        self._active[run.run_id] = run
        self._admitted.discard(place)
        self._on_start()
        gevent.spawn(self._own, run)

    def stop(self, run_id: str, reason: StopReason) -> bool:
        """Stop a run; False when this worker does not execute it."""
        run = self._active.get(run_id)
        if run is None:
            return False
        run.stop(reason)
        return True

    def refuse(self) -> None:
        """Admit no more runs."""
        self._closing = True

    def drain(self, timeout: float) -> bool:
        """Stop all runs; False when ``timeout`` seconds were not enough for their ends."""
        self._closing = self._stopping = True
        for run in list(self._active.values()):
            run.stop(StopReason.SHUTDOWN)
        return bool(self._idle.wait(timeout))

    def _own(self, run: ActiveRun) -> None:
        try:
            end = self._execute(run)
            if end is not None:
                run.hooks.prepare(end)
                if run.log.is_dropped:  # while it prepared, Redis has refused its last events
                    end = STORAGE_LOST
                self._write_end(run, end)
        except Exception as error:  # whatever went wrong here, the run must not stay running
            log_unexpected(run.run_id, error)
            self._write_end(run, RunEnd.failed(UNKNOWN))
        finally:
            run.enter(Phase.ENDED)
            self._log.close_run(run.log)
            del self._active[run.run_id]
            self._limiter.give_back(run.place)
            self._note_idle()

    def _execute(self, run: ActiveRun) -> RunEnd | None:
        """The end to write; None when it is written already."""
        end: RunEnd | None = None
        try:
            if self._begin(run):
                end = self._wait_for_end(run)
        except RunNotBegun as error:
            end = error.end
        match run.stop_reason:
            case StopReason.ENDED_ELSEWHERE:
                return None
            case StopReason.STORAGE | StopReason.LEASE_LOST:
                return STORAGE_LOST
            case StopReason.SHUTDOWN if end is None:
                return SHUTDOWN
        return end or RunEnd.failed(UNKNOWN)

    def _begin(self, run: ActiveRun) -> bool:
        """Wait for the run's turn; False when it was stopped before. Raises RunNotBegun."""
        run.proven = run.hooks.begin(run.proven)
        if run.proven is None or run.stop_reason is not None:
            return False
        if run.phase is Phase.WAITING:
            run.log.begin(run.encoder.started())
            run.enter(Phase.BEGUN)
        return True

    def _wait_for_end(self, run: ActiveRun) -> RunEnd | None:
        """How the run ended by itself; None when it was stopped."""
        run.wait_for_place(self._wait_seconds)
        if run.stop_reason is not None:
            return None
        if not run.place.is_active:
            return self._waited_too_long()
        run.task = self._bridge.submit(leaving_no_tasks(self._runner.execute(run)), name=f"run-{run.run_id}")
        try:
            return self._bridge.wait(run.task)
        except asyncio.CancelledError:
            logger.info("run %s: stopped: %s", run.run_id, run.stop_reason)
            return None

    def _write_end(self, run: ActiveRun, end: RunEnd) -> None:
        """Write the end, unless the run has been ended by somebody else."""
        run.enter(Phase.ENDING)
        outcome = run.log.end(end).get()
        while outcome is None:
            gevent.sleep(REFUSED_END_RETRY_SECONDS)
            outcome = run.log.end(end).get()
        if outcome is EndOutcome.BEHIND:
            run.log.drop()
            end = STORAGE_LOST
            outcome = run.log.end(end).get()
        if outcome is not EndOutcome.ENDED:
            logger.info("run %s: its end as %s was not taken: %s", run.run_id, end.status, outcome)

    def _waited_too_long(self) -> RunEnd:
        error = f"the run waited longer than {self._wait_seconds:g} seconds for its turn"
        return RunEnd.failed(error, reason="timeout")

    def _note_idle(self) -> None:
        if not self._active and not self._admitted:
            self._idle.set()
