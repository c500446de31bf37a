"""How a session takes over what a turn has prepared, and the turn succeeds, by statements that read none of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Update, and_, bindparam, select, update
from sqlalchemy.orm import Session

from models import AgentSession, SessionTurn
from models.enums import TurnStatus
from services.sessions.lookup import TurnKey

IS_PLAIN = and_(
    SessionTurn.status == TurnStatus.RUNNING,
    SessionTurn.prepared_snapshot.is_not(None),
    SessionTurn.deferred_call.is_(None),
    SessionTurn.stop.is_(None),
)
"""A turn of which the session, if its run has succeeded, takes over what is prepared, and that is all."""

# Made once: to write a statement takes SQLAlchemy longer than to execute it.
_TURNS = SessionTurn.id.in_(bindparam("turn_ids", expanding=True))
_SUCCEED = (
    update(SessionTurn)
    .where(_TURNS, SessionTurn.status == TurnStatus.RUNNING)
    .values(status=TurnStatus.SUCCEEDED, prepared_snapshot=None)
    .returning(SessionTurn.id)
)

_SESSIONS = AgentSession.id.in_(bindparam("session_ids", expanding=True))
_LOCK = select(AgentSession.id).where(_SESSIONS).with_for_update()
_LOCK_FREE = select(AgentSession.id).where(_SESSIONS).with_for_update(skip_locked=True)


def taking_over(**values: Any) -> Update:
    """A statement that gives sessions what their plain turns, among ``:turn_ids``, have prepared; and ``values``."""
    return (
        update(AgentSession)
        .where(AgentSession.id == SessionTurn.session_id, _TURNS, IS_PLAIN)
        .values(session_snapshot=SessionTurn.prepared_snapshot, **values)
    )


_TAKE_OVER = (
    taking_over(
        unfinished=AgentSession.unfinished - 1,
        updated_at=AgentSession.updated_at,  # it stays when the turn came: lists that people page through go by it
    )
    .where(_SESSIONS)
    .returning(AgentSession.id)
)


def succeed(session: Session, turn_ids: Collection[str]) -> set[str]:
    """Let turns succeed whose sessions this transaction has locked, and has given what the turns had prepared.

    Answers the ids of those that have.
    """
    if not turn_ids:
        return set()
    return set(session.connection().scalars(_SUCCEED, {"turn_ids": list(turn_ids)}))


def take_over(session: Session, keys: Collection[TurnKey], *, waits: bool = True) -> set[str]:
    """Finalize prepared turns whose runs have succeeded, at most one of each session.

    Answers the ids of those that it has finalized: not of one that somebody else has finalized or stopped, or that has
    ended with a question; nor, unless it ``waits``, of one whose session somebody else has locked.
    """
    connection = session.connection()
    turn_ids = [key.turn_id for key in keys]
    session_ids = list({key.session_id for key in keys})
    # Whoever finalizes or stops a turn has locked its session. Several are never waited for: others would wait for
    # those that are locked by then.
    locked = connection.scalars(_LOCK if waits else _LOCK_FREE, {"session_ids": session_ids}).all()
    taken = set(connection.scalars(_TAKE_OVER, {"session_ids": locked, "turn_ids": turn_ids}))
    return succeed(session, [key.turn_id for key in keys if key.session_id in taken])
