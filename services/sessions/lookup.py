"""Finds sessions and their turns, within their tenant only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from errors import SessionNotFound, TurnNotFound
from models import AgentSession, SessionTurn
from models.enums import SessionState, TurnStatus
from runtime.protocol.ids import is_id
from runtime.runs import TURN, Origin

LAST_POSITION = 2**31 - 1

# Built once: SQLAlchemy takes longer to build a statement than to execute it.
_UNFINISHED = (
    select(SessionTurn)
    .where(
        SessionTurn.session_id == bindparam("session_id"),
        SessionTurn.status == TurnStatus.RUNNING,
        SessionTurn.position < bindparam("before"),
    )
    .order_by(SessionTurn.position)
)


@dataclass(frozen=True, slots=True)
class TurnKey:
    """The ids by which a turn is found."""

    tenant_id: str
    session_id: str
    turn_id: str
    run_id: str
    position: int

    @classmethod
    def of(cls, row: SessionTurn) -> TurnKey:
        return cls(row.tenant_id, row.session_id, row.id, row.run_id, row.position)

    @property
    def origin(self) -> Origin:
        """The origin of the turn's run.

        It names the session too, which still exists when the turn has been rolled back.
        """
        return Origin(kind=TURN, id=f"{self.session_id}/{self.turn_id}")


def session_and_turn(origin: Origin) -> tuple[str, str]:
    """Returns the ids of the session and of the turn that a run belongs to."""
    session_id, turn_id = origin.id.split("/")
    return session_id, turn_id


def find_session(session: Session, tenant_id: str, session_id: str, *, is_locked: bool = False) -> AgentSession:
    """Returns a session of the tenant; if locked, nobody else changes it until the transaction ends.

    Raises SessionNotFound, also for one that is deleted.
    """
    wanted = select(AgentSession).where(AgentSession.id == session_id, AgentSession.tenant_id == tenant_id)
    row = session.scalar(wanted.with_for_update() if is_locked else wanted) if is_id(session_id) else None
    if row is None or row.state is SessionState.DELETED:
        raise SessionNotFound
    return row


def unfinished_turns(session: Session, session_id: str, *, before: int = LAST_POSITION) -> list[SessionTurn]:
    """Returns the turns that are not finalized, in their order; ``before`` is the position to stop at."""
    return list(session.scalars(_UNFINISHED, {"session_id": session_id, "before": before}))


def find_turn(session: Session, row: AgentSession, turn_id: str) -> SessionTurn:
    """Returns a turn of the session. Raises TurnNotFound."""
    turn = session.get(SessionTurn, turn_id) if is_id(turn_id) else None
    if turn is None or turn.session_id != row.id:
        raise TurnNotFound
    return turn
