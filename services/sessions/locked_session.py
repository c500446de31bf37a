"""Sessions, locked for the transaction that changes them.

They bypass SQLAlchemy's unit of work, which takes longer than all the rest of accepting a turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Text, Update, and_, bindparam, cast, insert, select, update
from sqlalchemy.orm import Session

from errors import SessionNotFound
from models import Agent, AgentSession, SessionTurn
from models.enums import AgentStatus, MultitaskStrategy, SessionState, TurnStatus
from runtime.protocol.ids import is_id
from services.sessions.lookup import TurnKey
from services.sessions.turns.successes import succeed, taking_over

CHANGING = ("turns", "last_run_id", "version_id", "waiting_form_id", "layer_specs", "updated_at")
"""The columns of a session that a turn changes, besides its snapshot and its number of unfinished turns."""


@dataclass(frozen=True, slots=True)
class SessionAgent:
    """The agent of a session."""

    id: str
    status: AgentStatus
    app_id: str | None


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """The last turn of a session, as it was when the session was read: it may have changed since."""

    key: TurnKey
    prepared_snapshot: str
    """JSON."""


@dataclass(slots=True)
class LockedSession:
    """A session that nobody else changes until the transaction ends. Changes made here are saved by ``store``."""

    id: str
    tenant_id: str
    agent: SessionAgent | None
    sealed_composition: str | None = None
    end_user_id: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    multitask_strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE
    session_snapshot: str | None = None
    """JSON."""
    version_id: str | None = None
    layer_specs: list[dict[str, Any]] = field(default_factory=list)
    turns: int = 0
    unfinished: int = 0
    last_run_id: str | None = None
    waiting_form_id: str | None = None
    updated_at: datetime | None = None
    last_turn: PreparedTurn | None = None
    """None when the last turn is finalized, or not yet prepared."""
    taken: PreparedTurn | None = None
    """The last turn, when the session has taken it over in this transaction."""
    name: str | None = None
    """The name of a session that is not stored yet; None for all others."""
    before: dict[str, Any] = field(init=False)
    """The values of the ``CHANGING`` columns when the session was read."""

    def __post_init__(self) -> None:
        self.before = {name: getattr(self, name) for name in CHANGING}

    @property
    def is_new(self) -> bool:
        return self.name is not None

    def take_over(self, turn: PreparedTurn) -> None:
        """Takes over the state of the last turn, whose run has succeeded."""
        self.session_snapshot, self.unfinished, self.taken = turn.prepared_snapshot, self.unfinished - 1, turn

    def store(self, session: Session) -> bool:
        """Stores the session.

        Returns False when the turn that it has taken over has changed meanwhile; then the transaction must be rolled
        back.
        """
        connection = session.connection()
        if self.is_new:
            connection.execute(_MAKE, self._columns())
            return True
        changed = {name: value for name in CHANGING if (value := getattr(self, name)) != self.before[name]}
        if not changed:
            return True
        given = {"session": self.id, "unfinished": self.unfinished, **changed}
        if self.taken is None:
            connection.execute(_change(*changed), given)
            return True
        turn_ids = [self.taken.key.turn_id]
        has_taken = connection.execute(_change(*changed, takes_over=True), {**given, "turn_ids": turn_ids}).rowcount
        return bool(has_taken and succeed(session, turn_ids))

    def _columns(self) -> dict[str, Any]:
        """Returns the columns of a session that is not stored yet."""
        return {
            "id": self.id,
            "tenant_id": self.tenant_id,
            "agent_id": self.agent.id if self.agent else None,
            "end_user_id": self.end_user_id,
            "name": self.name,
            "inputs": dict(self.inputs),
            "unfinished": self.unfinished,
            "created_at": self.updated_at,
            **{name: getattr(self, name) for name in CHANGING},
        }


# Statements are built once: SQLAlchemy takes longer to build one than to execute it.

_MAKE = insert(AgentSession)

_LOCKED = (
    select(
        AgentSession.state,
        AgentSession.sealed_composition,
        AgentSession.end_user_id,
        AgentSession.inputs,
        AgentSession.multitask_strategy,
        cast(AgentSession.session_snapshot, Text).label("session_snapshot"),
        *(getattr(AgentSession, name) for name in ("unfinished", *CHANGING)),
        AgentSession.agent_id,
        Agent.status.label("agent_status"),
        Agent.app_id,
        SessionTurn.id.label("turn_id"),
        SessionTurn.run_id,
        SessionTurn.position,
        cast(SessionTurn.prepared_snapshot, Text).label("prepared_snapshot"),
    )
    .outerjoin(Agent, Agent.id == AgentSession.agent_id)
    .outerjoin(
        SessionTurn, and_(SessionTurn.run_id == AgentSession.last_run_id, SessionTurn.status == TurnStatus.RUNNING)
    )
    .where(AgentSession.id == bindparam("session"), AgentSession.tenant_id == bindparam("tenant"))
    .with_for_update(of=AgentSession)
)


@cache
def _change(*names: str, takes_over: bool = False) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in ("unfinished", *names)}
    statement = taking_over(**values) if takes_over else update(AgentSession).values(values)
    return statement.where(AgentSession.id == bindparam("session"))


def lock_session(session: Session, tenant_id: str, session_id: str) -> LockedSession:
    """Locks a session until the transaction ends, and returns it with its agent and last turn, by one query.

    Raises SessionNotFound, also for one that is deleted.
    """
    found: Row[Any] | None = None
    if is_id(session_id):
        given = {"session": session_id, "tenant": tenant_id}
        found = session.connection().execute(_LOCKED, given).one_or_none()
    if found is None or found.state is SessionState.DELETED:
        raise SessionNotFound
    agent = SessionAgent(found.agent_id, found.agent_status, found.app_id) if found.agent_id is not None else None
    return LockedSession(
        id=session_id,
        tenant_id=tenant_id,
        agent=agent,
        sealed_composition=found.sealed_composition,
        end_user_id=found.end_user_id,
        inputs=found.inputs,
        multitask_strategy=found.multitask_strategy,
        session_snapshot=found.session_snapshot,
        version_id=found.version_id,
        layer_specs=found.layer_specs,
        turns=found.turns,
        unfinished=found.unfinished,
        last_run_id=found.last_run_id,
        waiting_form_id=found.waiting_form_id,
        updated_at=found.updated_at,
        last_turn=_last_turn(found, tenant_id, session_id),
    )


def _last_turn(found: Row[Any], tenant_id: str, session_id: str) -> PreparedTurn | None:
    # The row of the session is current, while that of the turn is as it was before PostgreSQL waited for the lock:
    # meanwhile it may have been prepared or finalized, or another one may have been added.
    if not found.unfinished or found.prepared_snapshot is None or found.run_id != found.last_run_id:
        return None
    key = TurnKey(tenant_id, session_id, found.turn_id, found.run_id, found.position)
    return PreparedTurn(key, found.prepared_snapshot)
