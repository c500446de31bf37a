"""Turns: accepted in one transaction, executed one after the other, whichever workers they are on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from errors import DatabaseUnavailable, ShuttingDown, StorageUnavailable
from models import AgentSession, HumanInputForm, SessionTurn
from models.enums import FormStatus, TurnStatus
from runtime.runs import Job, Place, ProvenRun, RunHooks, Worker
from services.database import Database
from services.runs import RunService
from services.sessions.cleanup import purge
from services.sessions.compositions import SessionCompositions, TurnInput, lasting_specs
from services.sessions.locked_session import LockedSession
from services.sessions.lookup import TurnKey, unfinished_turns
from services.sessions.questions import resolve_question
from services.sessions.turns.execute import ProvenTurn, TurnHooks
from services.sessions.turns.finalize import Finalizer
from services.sessions.turns.line import INTERRUPTED, Line
from services.sessions.turns.pending import PendingFinalizations
from services.sessions.turns.rows import Unfinalized, add_turn, check_queue, find_claimed, make_way
from services.sessions.turns.types import NewTurn, StartedTurn

logger = logging.getLogger(__name__)

SessionLock = Callable[[Session], LockedSession]
"""Finds or makes a session, and locks it until the transaction ends."""


@dataclass(slots=True)
class _Accepted:
    turn: StartedTurn
    proven: ProvenRun | None = None
    """None for a turn that was there already."""
    version_id: str | None = None
    to_cancel: list[TurnKey] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    """Ids of the turns that it has marked to be stopped."""
    before: dict[str, Any] = field(default_factory=dict)
    """What it has changed of the session."""
    is_new_session: bool = False


class TurnService:
    """Starts turns.

    ``cancels_forms`` is whether an ordinary turn gives up the question that waits for its answer, ``patience_seconds``
    how long a turn whose time has come waits for the database, ``max_queue`` how many turns of a session may wait.
    """

    def __init__(
        self,
        database: Database,
        worker: Worker,
        runs: RunService,
        compositions: SessionCompositions,
        finalizer: Finalizer,
        pending: PendingFinalizations,
        line: Line,
        *,
        cancels_forms: bool,
        patience_seconds: float,
        max_queue: int,
    ) -> None:
        self._database = database
        self._worker = worker
        self._runs = runs
        self._compositions = compositions
        self._finalizer = finalizer
        self._cancels_forms = cancels_forms
        self._patience_seconds = patience_seconds
        self._max_queue = max_queue
        self._pending = pending
        self._line = line

    def start_turn(self, tenant_id: str, lock: SessionLock, wanted: NewTurn) -> StartedTurn:
        """Start a turn of the tenant's session that ``lock`` finds or makes, in the transaction it is called in.

        A refused turn leaves nothing behind. Raises what ``lock``, ``SessionCompositions.prove`` and
        ``RunService.admission`` raise, SessionBusy, SessionQueueFull, HumanInputPending, IdempotencyKeyReused,
        StorageUnavailable and DatabaseUnavailable.
        """
        with self._runs.admission(tenant_id) as place:
            accepted = self._accept(lock, wanted)
            if accepted.proven is not None:
                self._begin(accepted, accepted.proven, wanted, place)
                self._cancel_runs(accepted.to_cancel)
        return accepted.turn

    def hooks(self, job: Job) -> RunHooks:
        """The hooks of a turn's run."""
        return TurnHooks(
            job,
            database=self._database,
            compositions=self._compositions,
            cancels_forms=self._cancels_forms,
            patience_seconds=self._patience_seconds,
        )

    def cancel_run(self, tenant_id: str, run_id: str, *, reason: str) -> None:
        """Cancel the run of a turn, if it is there and has not ended."""
        self._line.cancel_run(tenant_id, run_id, reason=reason)

    def _accept(self, lock: SessionLock, wanted: NewTurn) -> _Accepted:
        try:
            return self._accept_once(lock, wanted, is_finalized=False)
        except Unfinalized as found:
            for key in found.keys:
                self._finalizer.finalize(key)
        return self._accept_once(lock, wanted, is_finalized=True)

    def _accept_once(self, lock: SessionLock, wanted: NewTurn, *, is_finalized: bool) -> _Accepted:
        with self._database.transaction() as session:
            row = lock(session)
            if not is_finalized:
                self._take_over_last(row)
            unfinished = unfinished_turns(session, row.id) if row.unfinished else []
            if unfinished and not is_finalized:
                raise Unfinalized([TurnKey.of(turn) for turn in unfinished])
            earlier = find_claimed(session, row, wanted.claim)
            if earlier is not None:
                return _Accepted(StartedTurn(TurnKey.of(earlier), earlier.task_id, earlier.created_at, 0))
            unstopped = [turn.id for turn in unfinished if turn.stop is None]
            to_cancel = make_way(unfinished, wanted.multitask_strategy or row.multitask_strategy)
            check_queue(unfinished, most=self._max_queue)
            is_answer = wanted.deferred_results is not None
            resolve_question(session, row, is_answer=is_answer, cancels=self._cancels_forms)
            if wanted.version_id is not None:
                agent_id = row.agent.id if row.agent else None
                row.version_id = self._compositions.version_of(session, row.tenant_id, agent_id, wanted.version_id)
            turn_input = _input_of(wanted)
            proven = self._compositions.prove(session, row, turn_input, version_id=row.version_id)
            row.layer_specs = lasting_specs(proven.layers, before=row.layer_specs)
            started = add_turn(session, row, wanted, ahead=len(unfinished))
        if row.taken is not None:
            self._pending.remove(row.taken.key)
        stopped = unstopped if to_cancel else []
        return _Accepted(started, proven, row.version_id, to_cancel, stopped, row.before, row.is_new)

    def _take_over_last(self, row: LockedSession) -> None:
        """Finalize the last turn by the way, if nothing else is unfinished and this process knows that it succeeded."""
        last = row.last_turn
        if row.unfinished == 1 and last is not None and self._pending.has(last.key):
            row.take_over(last)

    def _begin(self, accepted: _Accepted, proven: ProvenRun, wanted: NewTurn, place: Place) -> None:
        key = accepted.turn.key
        try:
            if accepted.turn.ahead:
                self._put_in_line(key, proven, wanted)
            else:
                turn = ProvenTurn.of(proven, key, accepted.turn.created_at)
                self._runs.begin(turn, place, run_id=key.run_id, origin=key.origin)
        except StorageUnavailable:
            self._forget(accepted)
            raise

    def _put_in_line(self, key: TurnKey, proven: ProvenRun, wanted: NewTurn) -> None:
        self._worker.runs.put_in_line(
            Job(
                run_id=key.run_id,
                origin=key.origin,
                dialect=proven.dialect,
                tenant_id=key.tenant_id,
                user_id=wanted.user_id,
            )
        )
        try:
            self._line.advance(key.session_id)  # those before it may have ended before it was in line
        except (DatabaseUnavailable, StorageUnavailable, ShuttingDown):
            logger.info("session %s: whether its next turn can begin is left to others", key.session_id)

    def _forget(self, accepted: _Accepted) -> None:
        """Take back a turn whose run could not be stored."""
        key = accepted.turn.key
        with self._database.transaction() as session:
            if accepted.is_new_session:
                purge(session, key.session_id)
                return
            row = session.get(AgentSession, key.session_id, with_for_update=True)
            turn = session.get(SessionTurn, key.turn_id, with_for_update=True) if row is not None else None
            if row is None or turn is None:
                return
            if turn.status is TurnStatus.RUNNING:  # else somebody has found its end and finalized it
                row.unfinished -= 1
            session.delete(turn)
            going_on = (SessionTurn.id.in_(accepted.stopped), SessionTurn.status == TurnStatus.RUNNING)
            session.execute(update(SessionTurn).where(*going_on).values(stop=None))
            if row.last_run_id == key.run_id:  # no other turn goes by what this one has changed
                _restore(session, row, accepted.before)

    def _cancel_runs(self, keys: list[TurnKey]) -> None:
        try:
            for key in keys:
                self._line.cancel(key, reason=INTERRUPTED)
        except StorageUnavailable:  # whoever lets the new turn begin, which waits for them, does it first
            logger.warning("some runs that are to be stopped were not cancelled yet: the storage is away")


def _restore(session: Session, row: AgentSession, before: dict[str, Any]) -> None:
    for name, value in before.items():
        setattr(row, name, value)
    waiting = {"status": FormStatus.WAITING, "result": None}
    session.execute(update(HumanInputForm).where(HumanInputForm.id == row.waiting_form_id).values(waiting))


def _input_of(wanted: NewTurn) -> TurnInput:
    return TurnInput(wanted.query, wanted.inputs, wanted.user_id, wanted.deferred_results)
