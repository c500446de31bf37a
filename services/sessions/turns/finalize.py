"""The finalizing of turns: what a run's end makes of its turn, and of what the session remembers.

A run's owner prepares its success before anybody can see it; who finalizes goes by the run's record, which alone says
how it ended. So it does not matter who does it, nor how often: the next turn, a reader, the owner, the sweeper.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_ai.messages import ModelMessage
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from models import AgentSession, HumanInputForm, SessionTurn
from models.enums import TurnStatus
from runtime.protocol.ids import is_id, new_id
from runtime.protocol.records import RunRecord, RunStatus
from runtime.runs import Worker
from services.database import Database
from services.sessions.answers import answer_text, question_text, storable
from services.sessions.interruption import with_messages
from services.sessions.lookup import TurnKey, unfinished_turns
from services.sessions.run_events import RunEvents, read_events
from services.sessions.thoughts import thoughts_of, thoughts_so_far
from services.sessions.transcript import answer_so_far, rebuild_messages
from services.sessions.turns.successes import succeed, take_over
from services.sessions.turns.transitions import STATUSES, Outcome, outcome

UNSTORED_SECONDS = 30.0
"""How long after its acceptance a turn whose run is not in Redis may still get there."""

LOST = "the run was lost"
RUN_GONE = "run_gone"

_STATUS = select(SessionTurn.status).where(SessionTurn.id == bindparam("turn_id"))

PREPARED_COLUMNS = ("prepared_snapshot", "deferred_call", "answer", "thoughts", "usage", "latency")
"""What ``prepared`` gives."""


class _NotPrepared(Exception):
    """A success that its owner could not write down: what it was is in the run's events."""


class Finalizer:
    """Finalizes turns. Its methods raise DatabaseUnavailable and StorageUnavailable."""

    def __init__(self, database: Database, worker: Worker, *, form_seconds: float) -> None:
        self._database = database
        self._worker = worker
        self._form_life = timedelta(seconds=form_seconds)

    def finalize_session(self, tenant_id: str, session_id: str) -> None:
        """Finalize each turn of a session whose run has ended."""
        if not is_id(session_id):
            return
        with self._database.reading() as session:
            keys = [TurnKey.of(row) for row in unfinished_turns(session, session_id) if row.tenant_id == tenant_id]
        for key in keys:
            self.finalize(key)

    def finalize(self, key: TurnKey) -> bool:
        """Finalize a turn; False while its run goes on."""
        record = self._worker.runs.get(key.run_id)
        if record is not None and not record.has_ended:
            return False
        is_success = record is not None and record.status is RunStatus.SUCCEEDED
        if is_success and self._take_over(key):
            return True
        events = None if is_success else read_events(self._worker.runs, key.run_id)
        try:
            return self._apply(key, record, events)
        except _NotPrepared:
            return self._apply(key, record, read_events(self._worker.runs, key.run_id))

    def finalize_successes(self, keys: Sequence[TurnKey]) -> set[str]:
        """Finalize prepared turns whose runs have succeeded, at most one of each session.

        Answers the ids of those that it has finalized: not of one that somebody has marked, or whose session is busy.
        """
        with self._database.transaction() as session:
            return take_over(session, keys, waits=False)

    def _take_over(self, key: TurnKey) -> bool:
        """Finalize a prepared success without reading what it has learnt; False when it is no such."""
        with self._database.transaction() as session:
            if take_over(session, [key]):
                return True
            return session.connection().scalar(_STATUS, {"turn_id": key.turn_id}) is not TurnStatus.RUNNING

    def _apply(self, key: TurnKey, record: RunRecord | None, events: RunEvents | None) -> bool:
        with self._database.transaction() as session:
            # The session comes first wherever both are locked, or two who wait for each other could meet.
            row = session.get(AgentSession, key.session_id, with_for_update=True)
            # The turn too, or what its owner prepares meanwhile would stay beside what is made of it here.
            turn = session.get(SessionTurn, key.turn_id, with_for_update=True) if row is not None else None
            if row is None or turn is None or turn.status is not TurnStatus.RUNNING:
                return True
            if record is None and _is_young(turn):
                return False
            row.unfinished -= 1
            flag_modified(row, "updated_at")  # it stays when the turn came: lists that people page through go by it
            match became := outcome(record, turn.stop):
                case Outcome.ROLLED_BACK:
                    session.delete(turn)
                case Outcome.TAKEN_OVER:
                    self._succeed(session, row, turn, events)
                case _:
                    _stay(row, turn, became, record, events or RunEvents())
            return True

    def _succeed(self, session: Session, row: AgentSession, turn: SessionTurn, events: RunEvents | None) -> None:
        if turn.prepared_snapshot is None:
            if events is None:
                raise _NotPrepared
            _prepare_late(turn, events)
        row.session_snapshot = turn.prepared_snapshot or row.session_snapshot
        if turn.deferred_call is not None:
            form = self._form(turn)
            session.add(form)
            row.waiting_form_id = form.id
        session.flush()
        succeed(session, [turn.id])

    def _form(self, turn: SessionTurn) -> HumanInputForm:
        call = turn.deferred_call or {}
        return HumanInputForm(
            id=new_id(),
            tenant_id=turn.tenant_id,
            token=secrets.token_urlsafe(32),
            session_id=turn.session_id,
            turn_id=turn.id,
            tool_call_id=call["tool_call_id"],
            question=call["args"],
            expires_at=datetime.now(UTC) + self._form_life,
        )


def prepared(
    turn_id: str, data: dict[str, Any], messages: Sequence[ModelMessage], created_at: datetime
) -> dict[str, Any]:
    """The columns of a turn whose run succeeds with this ``data`` and has added these messages."""
    call = data.get("deferred_tool_call")
    return {
        "prepared_snapshot": data["session_snapshot"],
        "deferred_call": call,
        "answer": answer_text(data.get("output")) if call is None else question_text(call),
        "thoughts": [thought.as_json() for thought in thoughts_of(turn_id, messages)],
        "usage": data.get("usage"),
        "latency": (datetime.now(UTC) - created_at).total_seconds(),
    }


def _prepare_late(turn: SessionTurn, events: RunEvents) -> None:
    """What the owner would have written. Without its events nothing is left of the turn but that it succeeded."""
    if not events.end:
        return
    for name, value in prepared(turn.id, events.end, _messages(turn, events), turn.created_at).items():
        setattr(turn, name, value)


def _stay(row: AgentSession, turn: SessionTurn, became: Outcome, record: RunRecord | None, events: RunEvents) -> None:
    """The session stays at its last good state; what was said before the end is shown."""
    turn.status = STATUSES[became]
    turn.prepared_snapshot = turn.deferred_call = turn.usage = None
    turn.answer = answer_so_far(events.agent_events)
    turn.thoughts = [thought.as_json() for thought in thoughts_so_far(turn.id, events.agent_events)]
    ended_at = datetime.fromisoformat(record.updated_at) if record is not None else datetime.now(UTC)
    turn.latency = max(0.0, (ended_at - turn.created_at).total_seconds())
    if turn.status is TurnStatus.FAILED:
        turn.error = storable((record.error if record else None) or LOST)
        turn.error_reason = RUN_GONE if record is None else events.end.get("reason") or record.error_type
    elif became is Outcome.INTERRUPTED and events.has_begun and (messages := _messages(turn, events)):
        row.session_snapshot = with_messages(row.session_snapshot, messages)


def _messages(turn: SessionTurn, events: RunEvents) -> list[ModelMessage]:
    return rebuild_messages(None if turn.is_answer else turn.query, events.agent_events)


def _is_young(turn: SessionTurn) -> bool:
    return datetime.now(UTC) - turn.created_at < timedelta(seconds=UNSTORED_SECONDS)
