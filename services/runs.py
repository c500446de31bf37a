"""Runs: accepted, looked up, followed and cancelled."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from errors import (
    CapacityReached,
    IdempotencyKeyReused,
    RunAlreadyEnded,
    RunNotFound,
    ShuttingDown,
    StorageUnavailable,
)
from runtime.composition.composition import Composition
from runtime.events.entries import StreamEntry
from runtime.events.follow import FIRST_PAGE_ENTRIES, Follower
from runtime.events.store import CreateOutcome, EndOutcome
from runtime.execution.active_run import ActiveRun
from runtime.execution.failures import STORAGE_LOST
from runtime.protocol.dialects import Dialect, choose_dialect
from runtime.protocol.events import Event, EventEncoder, RunEnd
from runtime.protocol.ids import is_id
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest
from runtime.protocol.sse import HEARTBEAT_SECONDS
from runtime.runtime import Runtime
from services.idempotency import Claim, claim_of, new_run_id
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

    def create_run(
        self, request: CreateRunRequest, *, idempotency_key: str | None = None, claim: Claim | None = None
    ) -> RunRecord:
        """Accept a run and start it. Nothing is stored when it is refused.

        ``claim`` stands for the key where the request was made of another one, which is the same when that is.
        Answers the run that the idempotency key has already made, where there is one; the refusals of a worker that is
        full or stops are for new runs alone. Raises IdempotencyKeyReused when that run was of another request.
        """
        dialect = self._runtime.config.dialect or choose_dialect(request)
        composition = prove_run(request, dialect, self._runtime.config.rules)
        claim = claim or claim_of(request, idempotency_key)
        try:
            with self._runtime.pool.admission():
                return self._begin_run(request, composition, dialect, claim)
        except (CapacityReached, ShuttingDown):
            earlier = self._find_run(claim) if claim else None
            if earlier is None:
                raise
            return earlier

    def _begin_run(
        self, request: CreateRunRequest, composition: Composition, dialect: Dialect, claim: Claim | None
    ) -> RunRecord:
        record = RunRecord.begin(
            new_run_id(self._runtime.keys, claim),
            dialect=dialect,
            worker=self._runtime.worker,
            idempotency_digest=claim.digest if claim else None,
        )
        encoder = EventEncoder(record.run_id, dialect)
        earlier = self._store_run(record, encoder.started(), claim)
        if earlier is not None:
            return earlier
        run = ActiveRun(
            record,
            composition,
            encoder,
            self._runtime.log.open_run(record),
            deferred_results=request.deferred_tool_results,
            is_cleanup=is_cleanup(request),
        )
        self._runtime.pool.start(run)
        return record

    def _store_run(self, record: RunRecord, started: Event, claim: Claim | None) -> RunRecord | None:
        """Store a new run, or nothing and answer the run that its claim has already made."""
        store, fingerprint, gone = self._runtime.store, claim.fingerprint if claim else "", ""
        while True:
            try:
                outcome, holder = store.create(record, started, fingerprint=fingerprint, gone=gone)
            except StorageUnavailable:
                # The answer is lost, and perhaps not the run: nobody will execute it, so it must not stay running.
                self._runtime.log.abandon(record, STORAGE_LOST)
                raise
            if holder is None:
                return None
            earlier = store.get(holder)
            if earlier is None:
                gone = holder  # its record has expired, or Redis has lost it: the key is free
            elif outcome is CreateOutcome.CONFLICT:
                raise IdempotencyKeyReused
            else:
                return earlier

    def _find_run(self, claim: Claim) -> RunRecord | None:
        """The run that a claim has already made. Raises IdempotencyKeyReused."""
        fingerprint, record = self._runtime.store.find_by_key(claim.digest) or (None, None)
        if record is not None and fingerprint != claim.fingerprint:
            raise IdempotencyKeyReused
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
        if not is_id(run_id):
            raise RunNotFound
        store, hub, stream = self._runtime.store, self._runtime.hub, self._runtime.keys.events(run_id)
        follow = partial(Follower, run_id, stream, after=after, store=store, hub=hub, heartbeat=HEARTBEAT_SECONDS)
        if hub.owns(stream):
            return follow()
        record, page = store.get_with_page(run_id, after=after, limit=FIRST_PAGE_ENTRIES)
        if record is None:
            raise RunNotFound
        return follow(has_ended=record.has_ended, first_page=page)

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
