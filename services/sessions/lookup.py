"""How sessions and their turns are found: within their tenant, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from errors import SessionNotFound, TurnNotFound
from models import Agent, AgentConfigSnapshot, AgentSession, SessionTurn
from models.enums import SessionState, TurnStatus
from runtime.protocol.ids import is_id

# Made once: to write a statement takes SQLAlchemy longer than to execute it.
_OPENED = (
    select(AgentSession, Agent, AgentConfigSnapshot)
    .outerjoin(Agent, Agent.id == AgentSession.agent_id)
    .outerjoin(AgentConfigSnapshot, AgentConfigSnapshot.id == AgentSession.version_id)
    .where(AgentSession.id == bindparam("session_id"), AgentSession.tenant_id == bindparam("tenant_id"))
    .with_for_update(of=AgentSession)
)


@dataclass(frozen=True, slots=True)
class TurnKey:
    """What a turn is found by."""

    tenant_id: str
    session_id: str
    turn_id: str
    run_id: str
    position: int

    @classmethod
    def of(cls, row: SessionTurn) -> TurnKey:
        return cls(row.tenant_id, row.session_id, row.id, row.run_id, row.position)


def find_session(session: Session, tenant_id: str, session_id: str) -> AgentSession:
    """A session of the tenant. Raises SessionNotFound, also for one that is deleted."""
    wanted = select(AgentSession).where(AgentSession.id == session_id, AgentSession.tenant_id == tenant_id)
    row = session.scalar(wanted) if is_id(session_id) else None
    if row is None or row.state is SessionState.DELETED:
        raise SessionNotFound
    return row


def open_session(session: Session, tenant_id: str, session_id: str) -> AgentSession:
    """A session that nobody else changes until the transaction ends.

    One query brings its agent and version too, which are then at hand. Raises SessionNotFound, also for one that is
    deleted.
    """
    given = {"session_id": session_id, "tenant_id": tenant_id}
    found = session.execute(_OPENED, given).one_or_none() if is_id(session_id) else None
    if found is None or found[0].state is SessionState.DELETED:
        raise SessionNotFound
    keep_at_hand(session, *found)
    return found[0]


def keep_at_hand(session: Session, *rows: object) -> None:
    """Let the session remember rows until its end, though nobody else holds them: to look them up again is free."""
    session.info.setdefault("at_hand", []).extend(rows)


def unfinished_turns(session: Session, session_id: str, *, before: int | None = None) -> list[SessionTurn]:
    """The turns that are not settled, in their order; ``before`` is the position to stop at."""
    wanted = select(SessionTurn).where(SessionTurn.session_id == session_id, SessionTurn.status == TurnStatus.RUNNING)
    if before is not None:
        wanted = wanted.where(SessionTurn.position < before)
    return list(session.scalars(wanted.order_by(SessionTurn.position)))


def find_turn(session: Session, row: AgentSession, turn_id: str) -> SessionTurn:
    """A turn of the session. Raises TurnNotFound."""
    turn = session.get(SessionTurn, turn_id) if is_id(turn_id) else None
    if turn is None or turn.session_id != row.id:
        raise TurnNotFound
    return turn
