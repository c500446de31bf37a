"""Runs: accepting, looking up, following and cancelling them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from errors import CapacityReached, RunAlreadyEnded, RunNotFound, ShuttingDown
from runtime.config import OperatorRules
from runtime.protocol.dialects import Dialect, choose_dialect
from runtime.protocol.events import RunEnd
from runtime.protocol.ids import is_id
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest
from runtime.protocol.sse import HEARTBEAT_SECONDS
from runtime.runs import RUN, Claim, Follower, Job, Origin, Place, ProvenRun, StreamEntry, Worker
from services.idempotency import EVERYBODY, claim_of, scope_of
from services.new_run_limit import NewRunLimit
from services.run_access import RunAccess
from services.run_checks import check_tenant, proven_run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of a run, and the cursor after them."""

    run_id: str
    entries: list[StreamEntry]
    next_cursor: str


class RunService:
    """Accepts, finds, follows and cancels runs. Its methods raise the errors that callers see.

    ``dialect`` is that of every run; None means that each request decides.
    """

    def __init__(self, worker: Worker, rules: OperatorRules, dialect: Dialect | None, new_runs: NewRunLimit) -> None:
        self._worker = worker
        self._rules = rules
        self._dialect = dialect
        self._new_runs = new_runs

    def create_run(
        self,
        request: CreateRunRequest,
        *,
        tenant_id: str | None = None,
        idempotency_key: str | None = None,
        claim: Claim | None = None,
    ) -> RunRecord:
        """Accepts a run and starts it. Nothing is stored when it is refused.

        ``tenant_id`` is the tenant whose run it is; None is for callers without a key of ours. ``claim`` takes the
        place of the key for a request that was derived from another one: it counts as repeated when the original does.

        If the idempotency key has already created a run, that is returned, even when the worker is full or stops, which
        is a reason to refuse new runs only. Raises IdempotencyKeyReused when that run was of another request, in Dify's
        dialects only while it has not ended.
        """
        check_tenant(request.composition.layers, tenant_id)
        proven = self.prove(request)
        claim = claim or claim_of(request, idempotency_key, scope=_scope_of(tenant_id))
        try:
            with self.admission(tenant_id) as place:
                return self.begin(proven, place, request=request, claim=claim)
        except (CapacityReached, ShuttingDown):
            earlier = self._worker.runs.find_by_claim(claim, proven.dialect) if claim else None
            if earlier is None:
                raise
            return earlier

    def prove(self, request: CreateRunRequest, *, dialect: Dialect | None = None) -> ProvenRun:
        """Returns the run that a request asks for, in this dialect, or else the operator's, or else its own.

        Raises InvalidComposition if it cannot run.
        """
        dialect = dialect or self._dialect or choose_dialect(request)
        return proven_run(request, dialect, self._rules)

    @contextmanager
    def admission(self, tenant_id: str | None, *, is_counted: bool = True) -> Iterator[Place]:
        """Hold a place for a run of a tenant that is begun inside, and count it, unless nobody has asked for it.

        Raises ShuttingDown, CapacityReached and TenantLimitReached.
        """
        with self._worker.runs.admit(tenant_id) as place:
            if is_counted:
                self._new_runs.take(tenant_id)
            yield place

    def begin(
        self,
        proven: ProvenRun,
        place: Place,
        *,
        run_id: str | None = None,
        origin: Origin | None = None,
        request: CreateRunRequest | None = None,
        claim: Claim | None = None,
    ) -> RunRecord:
        """Store an admitted run and start it in its place. Without an ``origin`` it is a plain one with a ``request``.

        It ends in ``Runs.accept``, and raises what that raises.
        """
        run_id = run_id or self._worker.runs.new_run_id(claim)
        job = Job(
            run_id=run_id,
            origin=origin or Origin(kind=RUN, id=run_id),
            dialect=proven.dialect,
            tenant_id=place.tenant_id,
            request=request,
        )
        return self._worker.runs.accept(job, place, proven, claim=claim)

    def get_run(self, run_id: str, *, access: RunAccess) -> RunRecord:
        """Returns the record of a run.

        Raises RunNotFound, as all methods do for a run that ``access`` does not include.
        """
        return access.require(self._worker.runs.get(run_id) if is_id(run_id) else None)

    def list_events(self, run_id: str, *, access: RunAccess, after: str, limit: int) -> EventPage:
        """Returns a page of events after a cursor. Raises RunNotFound."""
        self.get_run(run_id, access=access)
        entries = self._worker.runs.page(run_id, after=after, limit=limit)
        return EventPage(run_id, entries, entries[-1].cursor if entries else after)

    def follow_run(
        self, run_id: str, *, access: RunAccess, after: str, heartbeat: float = HEARTBEAT_SECONDS
    ) -> Follower:
        """Follows a run's events from a cursor to its end, with an empty batch after ``heartbeat`` seconds of silence.

        Raises RunNotFound.
        """
        if not is_id(run_id):
            raise RunNotFound
        found = self._worker.runs.find(run_id, after=after)
        if found is None or not access.may_see(found.record):
            raise RunNotFound
        return self._worker.runs.follow(found, heartbeat=heartbeat)

    def cancel_run(self, run_id: str, request: CancelRunRequest, *, access: RunAccess) -> RunRecord:
        """Ends a run as cancelled, whichever worker executes it; cancelling it again changes nothing.

        Raises RunNotFound, or RunAlreadyEnded when it has ended in another way.
        """
        record = self.get_run(run_id, access=access)
        if not record.has_ended:
            end = RunEnd.cancelled(reason=request.reason, message=request.message)
            ended_before = self._worker.runs.end(record, end)
            if ended_before is None:
                return record
            record = ended_before
        if not record.cancelled:
            raise RunAlreadyEnded(f"the run has already ended as {record.status}")
        return record


def _scope_of(tenant_id: str | None) -> str:
    """Returns the scope of a tenant's idempotency keys; callers without a tenant share one."""
    return EVERYBODY if tenant_id is None else scope_of("run", tenant_id)
