"""The interface of the runtime to services: runs are accepted, found, followed and ended here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from errors import IdempotencyKeyReused, RunNotFound, StorageUnavailable
from runtime.events.entries import StreamEntry
from runtime.events.follow import FIRST_PAGE_ENTRIES, Follower
from runtime.events.hub import Hub
from runtime.events.keys import Keys
from runtime.events.log import LogKeeper
from runtime.events.store import CreateOutcome, EndOutcome, RunStore
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.ids import new_id
from runtime.protocol.jobs import RUN, Job, Origin
from runtime.protocol.phases import Phase
from runtime.protocol.records import NOBODY, RunRecord
from runtime.protocol.sse import HEARTBEAT_SECONDS
from runtime.runs.claims import Claim, gives_key_up
from runtime.runs.ends import STORAGE_LOST
from runtime.runs.executor import Executor
from runtime.runs.feed import RunFeed
from runtime.runs.origins import ProvenRun

MAX_PAGE_BYTES = 8 * 1024 * 1024
"""The most bytes of a page of events that is returned as a whole: it is held in memory, here and by its reader."""


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run as it was found, ready to be followed from a cursor."""

    record: RunRecord
    after: str
    page: list[StreamEntry] | None = None
    """The first events after the cursor at that time; None when they were not read."""


class Runs:
    """Accepts, finds, follows and ends runs. All methods raise StorageUnavailable when Redis cannot be reached."""

    def __init__(
        self,
        *,
        worker: str,
        keys: Keys,
        store: RunStore,
        hub: Hub,
        log: LogKeeper,
        executor: Executor,
        feed: RunFeed,
        tell_owner: Callable[[str, str], None],
    ) -> None:
        self._worker = worker
        self._keys = keys
        self._store = store
        self._hub = hub
        self._log = log
        self._executor = executor
        self._tell_owner = tell_owner
        self._starting: set[str] = set()
        self.feed = feed

    @property
    def active(self) -> list[str]:
        """The ids of the runs that this worker owns."""
        return self._executor.active

    @property
    def subscriber_count(self) -> int:
        """How many subscribers this worker has, to any stream."""
        return self._hub.subscriber_count

    def ping(self) -> None:
        """Checks that the storage of runs answers."""
        self._store.ping()

    def admit(self) -> AbstractContextManager[None]:
        """Reserves a place for a run that is accepted inside the context. Raises ShuttingDown or CapacityReached."""
        return self._executor.admit()

    def new_run_id(self, claim: Claim | None = None) -> str:
        """Returns an id for a new run. In a cluster it is in the bucket of its claim, as one script writes both."""
        run_id = new_id()
        while claim is not None and self._keys.bucket(run_id) != self._keys.bucket(claim.digest):
            run_id = new_id()
        return run_id

    def accept(self, job: Job, proven: ProvenRun | None = None, *, claim: Claim | None = None) -> RunRecord:
        """Stores an admitted job and starts it. Returns the run that the claim has already made, if there is one.

        ``proven`` is what was just made from the job, if anything. When this raises StorageUnavailable although the run
        was stored, the run is ended. Raises IdempotencyKeyReused.
        """
        record = _record(job, self._worker, claim)
        earlier = self._store_new(record, claim)
        if earlier is not None:
            return earlier
        self._executor.start(job, record, proven)
        return record

    def put_in_line(self, job: Job) -> RunRecord:
        """Stores a job that waits until it is started. It has no owner and no events yet.

        A run that has waited too long ends by itself. Of what the run needs, only the origin's id is stored: the origin
        finds the rest by it. Raises the same errors as ``accept``.
        """
        record = _record(job, NOBODY, None)
        self._store_new(record, None)
        return record

    def start_waiting(self, run_id: str) -> None:
        """Starts a waiting run on this worker; a run that is not, or no longer, in line is ignored.

        Raises ShuttingDown.
        """
        if run_id in self._starting:
            return
        self._starting.add(run_id)
        try:
            with self._executor.admit(was_accepted=True):
                self._claim(run_id)
        finally:
            self._starting.discard(run_id)

    def _claim(self, run_id: str) -> None:
        record = self._store.get(run_id)
        if record is None or self._executor.record_of(run_id) is not None:
            return
        # Already this worker's when Redis' answer to an earlier claim was lost.
        if not record.is_in_line and not (record.phase is Phase.WAITING and record.worker == self._worker):
            return
        mine = record.model_copy(update={"worker": self._worker})
        if self._store.claim(mine):
            self._executor.start(_job(mine), mine)

    def find_by_claim(self, claim: Claim, dialect: Dialect) -> RunRecord | None:
        """Returns the run that a claim has already made. Raises IdempotencyKeyReused."""
        fingerprint, record = self._store.find_by_key(claim.digest) or (None, None)
        if record is None or fingerprint == claim.fingerprint:
            return record
        if not gives_key_up(record, dialect):
            raise IdempotencyKeyReused
        return None

    def get(self, run_id: str) -> RunRecord | None:
        """Returns the record of a run; None for an unknown run."""
        return self._store.get(run_id)

    def page(self, run_id: str, *, after: str, limit: int) -> list[StreamEntry]:
        """Returns up to ``limit`` events after a cursor, fewer if they are large.

        Only an empty page means that there are no more.
        """
        return self._store.bounded_page(run_id, after=after, limit=limit, max_bytes=MAX_PAGE_BYTES)

    def last_cursor(self, run_id: str) -> str | None:
        """Returns the cursor of a run's last event; None when it has no events."""
        return self._store.last_cursor(run_id)

    def find(self, run_id: str, *, after: str) -> FoundRun | None:
        """Returns a run to be followed from a cursor; None for an unknown run."""
        own = self._executor.record_of(run_id)
        if own is not None and self._hub.owns(self._keys.events(run_id)):
            return FoundRun(own, after)
        record, page = self._store.get_with_page(run_id, after=after, limit=FIRST_PAGE_ENTRIES)
        return FoundRun(record, after, page) if record is not None else None

    def follow(self, found: FoundRun, *, heartbeat: float = HEARTBEAT_SECONDS) -> Follower:
        """Returns a follower of a run's events until its end, with no event missing or repeated.

        It yields a heartbeat after ``heartbeat`` seconds without an event.
        """
        run_id = found.record.run_id
        stream = self._keys.events(run_id)
        return Follower(
            run_id,
            stream,
            after=found.after,
            store=self._store,
            hub=self._hub,
            heartbeat=heartbeat,
            has_ended=found.record.has_ended,
            # For a run of this worker the page must be read after the follower has subscribed, so not yet.
            first_page=None if self._hub.owns(stream) else found.page,
        )

    def end(self, record: RunRecord, end: RunEnd) -> RunRecord | None:
        """Ends a run, whichever worker owns it. Returns the record if the run had already ended, else None.

        Raises RunNotFound.
        """
        outcome, current = self._store.end(record, end)
        if outcome is EndOutcome.GONE:
            raise RunNotFound
        if outcome is EndOutcome.ENDED:
            owner = (current or record).owner
            if owner is not None:
                self._tell_owner(record.run_id, owner)
            return None
        return current or record

    def _store_new(self, record: RunRecord, claim: Claim | None) -> RunRecord | None:
        """Stores a new run. If its claim has already made a run, stores nothing and returns that run."""
        fingerprint, freed = claim.fingerprint if claim else "", ""
        started = EventEncoder(record.run_id, record.dialect).started() if record.phase is Phase.BEGUN else None
        while True:
            try:
                outcome, holder = self._store.create(record, started, fingerprint=fingerprint, freed=freed)
            except StorageUnavailable:
                # The answer is lost, but the run may be stored. Nobody will execute it, so it must not stay running.
                self._log.abandon(record, STORAGE_LOST)
                raise
            if holder is None:
                return None
            earlier = self._store.get(holder)
            if earlier is not None and outcome is CreateOutcome.EXISTING:
                return earlier
            if earlier is not None and not gives_key_up(earlier, record.dialect):
                raise IdempotencyKeyReused
            freed = holder  # also when its record has expired, or Redis has lost it


def _record(job: Job, worker: str, claim: Claim | None) -> RunRecord:
    """Returns the record of a new run; a run without an owner waits in line."""
    return RunRecord.begin(
        job.run_id,
        dialect=job.dialect,
        worker=worker,
        idempotency_digest=claim.digest if claim else None,
        tenant_id=job.tenant_id,
        user_id=job.user_id,
        origin=job.origin if job.origin.kind != RUN else None,
        waits=worker == NOBODY,
    )


def _job(record: RunRecord) -> Job:
    """Returns the job of a run that has waited in line."""
    return Job(
        run_id=record.run_id,
        origin=record.origin or Origin(kind=RUN, id=record.run_id),
        dialect=record.dialect,
        tenant_id=record.tenant_id,
        user_id=record.user_id,
    )
