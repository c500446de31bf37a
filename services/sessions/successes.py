"""How a session takes over what a turn has prepared, by statements that read none of it."""

from __future__ import annotations

from collections.abc import Collection

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

# Made once: to write a statement takes SQLAlchemy longer than to execute it.
SUCCEED = (
    update(SessionTurn)
    .where(SessionTurn.id == bindparam("turn_id"), *_IS_PLAIN)
    .values(status=TurnStatus.SUCCEEDED, prepared_snapshot=None)
)

_TURNS = SessionTurn.id.in_(bindparam("turn_ids", expanding=True))
_SESSIONS = AgentSession.id.in_(bindparam("session_ids", expanding=True))
# In one order everywhere, or two who lock the same ones could wait for each other. Nobody settles or stops turns of a
# session that somebody else has locked, so both updates find the same ones.
_LOCK = select(AgentSession.id).where(_SESSIONS).order_by(AgentSession.id).with_for_update()
_TAKE_OVER = (
    update(AgentSession)
    .where(AgentSession.id == SessionTurn.session_id, _TURNS, *_IS_PLAIN)
    .values(
        session_snapshot=SessionTurn.prepared_snapshot,
        unfinished=AgentSession.unfinished - 1,
        updated_at=AgentSession.updated_at,  # it stays when the turn came: lists that people page through go by it
    )
)
_SUCCEED_ALL = (
    update(SessionTurn)
    .where(_TURNS, *_IS_PLAIN)
    .values(status=TurnStatus.SUCCEEDED, prepared_snapshot=None)
    .returning(SessionTurn.id)
)


def take_over(session: Session, keys: Collection[TurnKey]) -> set[str]:
    """Settle prepared turns whose runs have succeeded, at most one of each session.

    Answers the ids of those that it has settled: not of one that somebody else has settled or stopped, or that has
    ended with a question.
    """
    connection = session.connection()
    turn_ids = [key.turn_id for key in keys]
    connection.execute(_LOCK, {"session_ids": [key.session_id for key in keys]})
    connection.execute(_TAKE_OVER, {"turn_ids": turn_ids})
    return set(connection.scalars(_SUCCEED_ALL, {"turn_ids": turn_ids}))
