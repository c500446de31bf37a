"""The rows of turns, as the transaction that accepts one finds and makes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from errors import SessionBusy, SessionQueueFull
from models import SessionTurn
from models.enums import MultitaskStrategy, TurnStatus, TurnStop
from runtime.protocol.ids import new_id
from runtime.runs import Claim
from services.sessions.locked_session import LockedSession
from services.sessions.lookup import TurnKey
from services.sessions.turns.types import NewTurn, StartedTurn

STOPS = {MultitaskStrategy.INTERRUPT: TurnStop.INTERRUPT, MultitaskStrategy.ROLLBACK: TurnStop.ROLLBACK}

# Made once: to write a statement takes SQLAlchemy longer than to execute it.
_ADD = insert(SessionTurn)


def find_claimed(session: Session, row: LockedSession, claim: Claim | None) -> SessionTurn | None:
    """The turn that was made under the same idempotency key. Raises IdempotencyKeyReused.

    The key of a turn that has failed or was cancelled is free again.
    """
    if claim is None:
        return None
    wanted = (SessionTurn.session_id == row.id, SessionTurn.idempotency_digest == claim.digest)
    turn = session.scalar(select(SessionTurn).where(*wanted))
    if turn is None:
        return None
    if turn.status in (TurnStatus.FAILED, TurnStatus.CANCELLED):
        turn.idempotency_digest = None
        session.flush()
        return None
    claim.require_same(turn.idempotency_fingerprint)
    return turn


def make_way(unfinished: list[SessionTurn], strategy: MultitaskStrategy) -> list[TurnKey]:
    """What becomes of the turns that are not finalized: those whose runs are to be cancelled. Raises SessionBusy."""
    if unfinished and strategy is MultitaskStrategy.REJECT:
        raise SessionBusy
    stop = STOPS.get(strategy)
    if stop is None:
        return []
    for turn in unfinished:
        turn.stop = turn.stop or stop
    return [TurnKey.of(turn) for turn in unfinished]


def check_queue(unfinished: list[SessionTurn], *, most: int) -> None:
    """Raise SessionQueueFull when so many turns wait already. The first one runs, and one that is stopped soon ends."""
    if len([turn for turn in unfinished[1:] if turn.stop is None]) >= most:
        raise SessionQueueFull


class Unfinalized(Exception):
    """Turns of the session are to be finalized first, and then it is tried again."""

    def __init__(self, keys: Sequence[TurnKey]) -> None:
        super().__init__()
        self.keys = keys


def add_turn(session: Session, row: LockedSession, wanted: NewTurn, *, ahead: int) -> StartedTurn:
    """Store a new turn, and what it changes of its session.

    Raises Unfinalized when somebody else has finalized or stopped the turn meanwhile that the session has taken over.
    """
    now = datetime.now(UTC)
    row.turns += 1
    row.unfinished += 1
    key = TurnKey(row.tenant_id, row.id, turn_id=new_id(), run_id=new_id(), position=row.turns)
    started = StartedTurn(key, task_id=new_id(), created_at=now, ahead=ahead)
    row.last_run_id, row.updated_at = key.run_id, now
    values: dict[str, Any] = {
        "id": key.turn_id,
        "tenant_id": key.tenant_id,
        "session_id": key.session_id,
        "position": key.position,
        "run_id": key.run_id,
        "task_id": started.task_id,
        "version_id": row.version_id,
        "query": wanted.query,
        "is_answer": wanted.deferred_results is not None,
        "inputs": {**row.inputs, **wanted.inputs},
        "metadata": dict(wanted.metadata),
        "status": TurnStatus.RUNNING,
        "idempotency_digest": wanted.claim.digest if wanted.claim else None,
        "idempotency_fingerprint": wanted.claim.fingerprint if wanted.claim else None,
        "created_at": now,
        "updated_at": now,
    }
    if not row.store(session) and row.taken is not None:
        raise Unfinalized([row.taken.key])
    session.connection().execute(_ADD, values)
    return started
