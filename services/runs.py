"""Runs: accepted, looked up, followed and cancelled."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
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
from runtime.execution.hooks import RunHooks
from runtime.protocol.dialects import Dialect, choose_dialect
from runtime.protocol.events import Event, EventEncoder, RunEnd
from runtime.protocol.ids import is_id
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest, DeferredToolResults, LayerSpec
from runtime.protocol.sse import HEARTBEAT_SECONDS
from runtime.runtime import Runtime
from services.idempotency import EVERYBODY, Claim, claim_of, new_run_id
from services.run_checks import awaited_results, check_tenant, is_cleanup, prove_run
from services.run_viewers import RunViewer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of a run, and the cursor behind them."""

    run_id: str
    entries: list[StreamEntry]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class ProvenRun:
    """A run that can be begun."""

    composition: Composition
    dialect: Dialect
    layers: Sequence[LayerSpec] = field(repr=False)
    deferred_results: DeferredToolResults | None = field(default=None, repr=False)
    is_cleanup: bool = False


class RunService:
    """The rules of runs. Its methods raise the errors that callers see."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def create_run(
        self,
        request: CreateRunRequest,
        *,
        tenant_id: str | None = None,
        idempotency_key: str | None = None,
        claim: Claim | None = None,
    ) -> RunRecord:
        """Accept a run and start it. Nothing is stored when it is refused.

        ``tenant_id`` is whose run it is; None is for callers without a key of ours. ``claim`` stands for the key where
        the request was made of another one, which is the same when that is.
        Answers the run that the idempotency key has already made, where there is one; the refusals of a worker that is
        full or stops are for new runs alone. Raises IdempotencyKeyReused when that run was of another request, which
        in Dify's dialects counts only while it goes on.
        """
        check_tenant(request.composition.layers, tenant_id)
        proven = self.prove(request)
        claim = claim or claim_of(request, idempotency_key, scope=_scope_of(tenant_id))
        try:
            with self.admission():
                return self.begin(proven, tenant_id=tenant_id, claim=claim)
        except (CapacityReached, ShuttingDown):
            earlier = self._find_run(claim, proven.dialect) if claim else None
            if earlier is None:
                raise
            return earlier

    def prove(self, request: CreateRunRequest, *, dialect: Dialect | None = None) -> ProvenRun:
        """What a request asks for, if it can run: in this dialect, or else the operator's, or else its own.

        Raises InvalidComposition.
        """
        dialect = dialect or self._runtime.config.dialect or choose_dialect(request)
        composition = prove_run(request, dialect, self._runtime.config.rules)
        layers = request.composition.layers
        results = awaited_results(request.deferred_tool_results, composition, dialect)
        return ProvenRun(composition, dialect, layers, results, is_cleanup(request))

    def admission(self) -> AbstractContextManager[None]:
        """Hold a place for a run that is begun inside. Raises ShuttingDown and CapacityReached."""
        return self._runtime.pool.admission()

    def begin(
        self,
        proven: ProvenRun,
        *,
        run_id: str | None = None,
        tenant_id: str | None = None,
        claim: Claim | None = None,
        hooks: RunHooks | None = None,
        is_waiting: bool = False,
    ) -> RunRecord:
        """Store an admitted run and start it.

        With ``is_waiting`` its ``run_started`` comes when its ``hooks`` let it begin. Answers the run that its claim
        has already made, where there is one. Raises StorageUnavailable; what is stored then nevertheless is ended.
        """
        record = RunRecord.begin(
            run_id or new_run_id(self._runtime.keys, claim),
            dialect=proven.dialect,
            worker=self._runtime.worker,
            idempotency_digest=claim.digest if claim else None,
            tenant_id=tenant_id,
            waits=is_waiting,
        )
        encoder = EventEncoder(record.run_id, proven.dialect)
        earlier = self._store_run(record, None if is_waiting else encoder.started(), claim)
        if earlier is not None:
            return earlier
        run = ActiveRun(
            record,
            proven.composition,
            encoder,
            self._runtime.log.open_run(record, has_begun=not is_waiting),
            deferred_results=proven.deferred_results,
            hooks=hooks,
            is_cleanup=proven.is_cleanup,
            has_begun=not is_waiting,
        )
        self._runtime.pool.start(run)
        return record

    def _store_run(self, record: RunRecord, started: Event | None, claim: Claim | None) -> RunRecord | None:
        """Store a new run, or nothing and answer the run that its claim has already made."""
        store, fingerprint, freed = self._runtime.store, claim.fingerprint if claim else "", ""
        while True:
            try:
                outcome, holder = store.create(record, started, fingerprint=fingerprint, freed=freed)
            except StorageUnavailable:
                # The answer is lost, and perhaps not the run: nobody will execute it, so it must not stay running.
                self._runtime.log.abandon(record, STORAGE_LOST)
                raise
            if holder is None:
                return None
            earlier = store.get(holder)
            if earlier is not None and outcome is CreateOutcome.EXISTING:
                return earlier
            if earlier is not None and not _gives_key_up(earlier, record.dialect):
                raise IdempotencyKeyReused
            freed = holder  # also when its record has expired, or Redis has lost it

    def _find_run(self, claim: Claim, dialect: Dialect) -> RunRecord | None:
        """The run that a claim has already made. Raises IdempotencyKeyReused."""
        fingerprint, record = self._runtime.store.find_by_key(claim.digest) or (None, None)
        if record is None or fingerprint == claim.fingerprint:
            return record
        if not _gives_key_up(record, dialect):
            raise IdempotencyKeyReused
        return None

    def get_run(self, run_id: str, *, viewer: RunViewer) -> RunRecord:
        """Raises RunNotFound, also for a run that the viewer may not see, as everything here does."""
        return viewer.require(self._runtime.store.get(run_id) if is_id(run_id) else None)

    def list_events(self, run_id: str, *, viewer: RunViewer, after: str, limit: int) -> EventPage:
        """A page of events behind a cursor. Raises RunNotFound."""
        self.get_run(run_id, viewer=viewer)
        entries = self._runtime.store.page(run_id, after=after, limit=limit)
        return EventPage(run_id, entries, entries[-1].cursor if entries else after)

    def follow_run(
        self, run_id: str, *, viewer: RunViewer, after: str, heartbeat: float = HEARTBEAT_SECONDS
    ) -> Follower:
        """A run's events from a cursor to its end, with a sign of life after ``heartbeat`` silent seconds.

        Raises RunNotFound.
        """
        if not is_id(run_id):
            raise RunNotFound
        store, hub, stream = self._runtime.store, self._runtime.hub, self._runtime.keys.events(run_id)
        follow = partial(Follower, run_id, stream, after=after, store=store, hub=hub, heartbeat=heartbeat)
        own = self._runtime.pool.record_of(run_id)
        if own is not None and hub.owns(stream):
            viewer.require(own)
            return follow()
        found, page = store.get_with_page(run_id, after=after, limit=FIRST_PAGE_ENTRIES)
        record = viewer.require(found)
        # Of a run of this worker the page must be read after the joining, which comes at once after this.
        return follow(has_ended=record.has_ended, first_page=None if hub.owns(stream) else page)

    def cancel_run(self, run_id: str, request: CancelRunRequest, *, viewer: RunViewer) -> RunRecord:
        """End a run as cancelled, whichever worker executes it; again is no error.

        Raises RunNotFound, or RunAlreadyEnded when it has ended as something else.
        """
        record = self.get_run(run_id, viewer=viewer)
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


def _gives_key_up(earlier: RunRecord, dialect: Dialect) -> bool:
    """Whether a run leaves its idempotency key to another request in this dialect.

    A workflow node of Dify that goes on after a person's answer sends the key of its first run again.
    """
    return dialect.is_dated and earlier.has_ended


def _scope_of(tenant_id: str | None) -> str:
    """Whose idempotency keys are his own: a tenant's; callers without a tenant share theirs."""
    return EVERYBODY if tenant_id is None else json.dumps(["run", tenant_id])
