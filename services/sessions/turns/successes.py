"""How a session takes over what a turn has prepared, by statements that read none of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from models import AgentSession, SessionTurn
from models.enums import TurnStatus
from services.sessions.lookup import TurnKey

_IS_PLAIN = (
    SessionTurn.status == TurnStatus.RUNNING,
    SessionTurn.prepared_snapshot.is_not(None),
    SessionTurn.deferred_call.is_(None),
    SessionTurn.stop.is_(None),
)
"""A turn of which the session, if its run has succeeded, takes over what is prepared, and that is all."""

SUCCEEDED: dict[str, Any] = {"status": TurnStatus.SUCCEEDED, "prepared_snapshot": None}
"""What a turn is once its session has taken over what it had prepared, by whichever of the statements."""

# Made once: to write a statement takes SQLAlchemy longer than to execute it.
SUCCEED = update(SessionTurn).where(SessionTurn.id == bindparam("turn_id"), *_IS_PLAIN).values(SUCCEEDED)

_SESSIONS = AgentSession.id.in_(bindparam("session_ids", expanding=True))
_LOCK = select(AgentSession.id).where(_SESSIONS).with_for_update()
_LOCK_FREE = select(AgentSession.id).where(_SESSIONS).with_for_update(skip_locked=True)
_TURNS = SessionTurn.id.in_(bindparam("turn_ids", expanding=True))
_TAKE_OVER = (
    update(AgentSession)
    .where(_SESSIONS, AgentSession.id == SessionTurn.session_id, _TURNS, *_IS_PLAIN)
    .values(
        session_snapshot=SessionTurn.prepared_snapshot,
        unfinished=AgentSession.unfinished - 1,
        updated_at=AgentSession.updated_at,  # it stays when the turn came: lists that people page through go by it
    )
    .returning(AgentSession.id)
)
_SUCCEED_ALL = (
    update(SessionTurn)
    .where(_TURNS, SessionTurn.session_id.in_(bindparam("session_ids", expanding=True)), *_IS_PLAIN)
    .values(SUCCEEDED)
    .returning(SessionTurn.id)
)


def take_over(session: Session, keys: Collection[TurnKey], *, waits: bool = True) -> set[str]:
    """Finalize prepared turns whose runs have succeeded, at most one of each session.

    Answers the ids of those that it has finalized: not of one that somebody else has finalized or stopped, or that has
    ended with a question; nor, unless it ``waits``, of one whose session somebody else has locked.
    """
    connection = session.connection()
    turns = {"turn_ids": [key.turn_id for key in keys]}
    sessions: Collection[str] = {key.session_id for key in keys}
    # Whoever finalizes or stops a turn has locked its session. Several are never waited for: others would wait for
    # those that are locked by then.
    sessions = connection.scalars(_LOCK if waits else _LOCK_FREE, {"session_ids": list(sessions)}).all()
    # By what has been taken over: a statement that its sender gave up may still prepare a turn at any time.
    sessions = connection.scalars(_TAKE_OVER, {"session_ids": sessions, **turns}).all()
    return set(connection.scalars(_SUCCEED_ALL, {"session_ids": sessions, **turns}))
