"""Runs: accepted, looked up, followed and cancelled."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from errors import RunAlreadyEnded, RunNotFound, StorageUnavailable
from runtime.events.entries import StreamEntry
from runtime.events.follow import Follower
from runtime.events.store import EndOutcome
from runtime.execution.active_run import ActiveRun
from runtime.execution.failures import STORAGE_LOST
from runtime.protocol.dialects import choose_dialect
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.ids import is_id, new_id
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest
from runtime.protocol.sse import HEARTBEAT_SECONDS
from runtime.runtime import Runtime
from services.run_checks import is_cleanup, prove_run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of a run, and the cursor behind them."""

    run_id: str
    entries: list[StreamEntry]
    next_cursor: str


class RunService:
    """The rules of runs. Its methods raise the errors that callers see."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def create_run(self, request: CreateRunRequest) -> RunRecord:
        """Accept a run and start it. Nothing is stored when it is refused."""
        dialect = self._runtime.config.dialect or choose_dialect(request)
        composition = prove_run(request, dialect, self._runtime.config.rules)
        pool, store, log = self._runtime.pool, self._runtime.store, self._runtime.log
        with pool.admission():
            record = RunRecord.begin(new_id(), dialect=dialect, worker=self._runtime.worker)
            encoder = EventEncoder(record.run_id, dialect)
            try:
                store.create(record, encoder.started())
            except StorageUnavailable:
                # The answer is lost, and perhaps not the run: nobody will execute it, so it must not stay running.
                log.abandon(record, STORAGE_LOST)
                raise
            run = ActiveRun(
                record,
                composition,
                encoder,
                log.open_run(record),
                deferred_results=request.deferred_tool_results,
                is_cleanup=is_cleanup(request),
            )
            pool.start(run)
        return record

    def get_run(self, run_id: str) -> RunRecord:
        """Raises RunNotFound."""
        record = self._runtime.store.get(run_id) if is_id(run_id) else None
        if record is None:
            raise RunNotFound
        return record

    def list_events(self, run_id: str, *, after: str, limit: int) -> EventPage:
        """A page of events behind a cursor. Raises RunNotFound."""
        self.get_run(run_id)
        entries = self._runtime.store.page(run_id, after=after, limit=limit)
        return EventPage(run_id, entries, entries[-1].cursor if entries else after)

    def follow_run(self, run_id: str, *, after: str) -> Follower:
        """A run's events from a cursor to its end. Raises RunNotFound."""
        record = self.get_run(run_id)
        return Follower(
            run_id,
            after=after,
            has_ended=record.has_ended,
            store=self._runtime.store,
            hub=self._runtime.hub,
            heartbeat=HEARTBEAT_SECONDS,
        )

    def cancel_run(self, run_id: str, request: CancelRunRequest) -> RunRecord:
        """End a run as cancelled, whichever worker executes it; again is no error.

        Raises RunNotFound, or RunAlreadyEnded when it has ended as something else.
        """
        record = self.get_run(run_id)
        if not record.has_ended:
            end = RunEnd.cancelled(reason=request.reason, message=request.message)
            outcome, current = self._runtime.store.end(record, end)
            if outcome is EndOutcome.GONE:
                raise RunNotFound
            if outcome is EndOutcome.ENDED:
                self._runtime.stop_run(run_id, record.worker)
                return record
            record = current or record
        if not record.cancelled:
            raise RunAlreadyEnded(f"the run has already ended as {record.status}")
        return record
