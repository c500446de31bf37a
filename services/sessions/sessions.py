"""Sessions: creating, reading, listing, changing and deleting them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import CapacityReached, SessionBusy, ShuttingDown, StorageUnavailable
from models import AgentSession, HumanInputForm, SessionTurn
from models.enums import SessionState, TurnStop
from runtime.protocol.clock import wire_time
from runtime.protocol.ids import new_id
from services.agents.lookup import find_agent, find_version, require_active
from services.agents.transfer import version_id_of
from services.database import Database
from services.idempotency import claim_of, once, scope_of
from services.pages import CursorPage
from services.sessions.cleanup import SessionCleanup, purge
from services.sessions.compositions import SessionCompositions
from services.sessions.descriptions import describe_session, describe_turn
from services.sessions.locked_session import lock_session
from services.sessions.lookup import TurnKey, find_session, find_turn, unfinished_turns
from services.sessions.requests import ChangeSessionRequest, CreateSessionRequest, StartTurnRequest
from services.sessions.turns.accept import TurnService
from services.sessions.turns.finalize import Finalizer
from services.sessions.turns.types import NewTurn, StartedTurn

logger = logging.getLogger(__name__)

DELETED = "session_deleted"


class SessionService:
    """Creates, reads, changes and deletes sessions.

    Its methods raise DatabaseUnavailable besides the errors they name.
    """

    def __init__(
        self,
        database: Database,
        compositions: SessionCompositions,
        turns: TurnService,
        finalizer: Finalizer,
        cleanup: SessionCleanup,
    ) -> None:
        self._database = database
        self._compositions = compositions
        self._turns = turns
        self._finalizer = finalizer
        self._cleanup = cleanup

    def create_session(
        self, tenant_id: str, wanted: CreateSessionRequest, *, created_by: str | None, idempotency_key: str | None
    ) -> dict[str, Any]:
        """Creates a session, or returns the one that the idempotency key has created.

        It keeps the version that it begins with. Raises AgentNotFound, AgentArchived, AgentVersionNotFound,
        AgentTagNotFound, CredentialsUnavailable, InvalidComposition, TenantNotAllowed and IdempotencyKeyReused.
        """
        session_id = new_id()
        sealed = self._sealed(tenant_id, session_id, wanted)

        def make(session: Session) -> dict[str, Any]:
            version_id = None
            if wanted.agent_id is not None:
                agent = find_agent(session, tenant_id, wanted.agent_id)
                require_active(agent)
                named = version_id_of(session, agent, version_id=wanted.version_id, tag=wanted.tag)
                version_id = find_version(session, agent, named).id
            row = AgentSession(
                id=session_id,
                tenant_id=tenant_id,
                agent_id=wanted.agent_id,
                version_id=version_id,
                sealed_composition=sealed,
                name=wanted.name,
                details=wanted.metadata,
                multitask_strategy=wanted.multitask_strategy,
                created_by=created_by,
            )
            session.add(row)
            session.flush()
            return describe_session(row)

        def again(session: Session, made_id: str) -> dict[str, Any]:
            return describe_session(find_session(session, tenant_id, made_id))

        claim = claim_of(wanted, idempotency_key, scope=scope_of("session", tenant_id))
        return once(self._database, tenant_id, claim, session_id, make, again, keeps_answer=True)

    def get_session(self, tenant_id: str, session_id: str) -> dict[str, Any]:
        """Returns a session with what it remembers. Raises SessionNotFound and StorageUnavailable."""
        self._finalizer.finalize_session(tenant_id, session_id)
        with self._database.reading() as session:
            row = find_session(session, tenant_id, session_id)
            body = {**describe_session(row), "session_snapshot": row.session_snapshot}
            return {**body, "human_input": _question(session, row)}

    def list_sessions(
        self, tenant_id: str, *, after: str | None, limit: int, agent_id: str | None = None
    ) -> CursorPage[dict[str, Any]]:
        """Returns a page of a tenant's sessions, the newest first, after the one that ``after`` names."""
        wanted = select(AgentSession).where(
            AgentSession.tenant_id == tenant_id, AgentSession.state == SessionState.ACTIVE
        )
        if agent_id is not None:
            wanted = wanted.where(AgentSession.agent_id == agent_id)
        if after is not None:
            wanted = wanted.where(AgentSession.id < after)
        with self._database.reading() as session:
            rows = session.scalars(wanted.order_by(AgentSession.id.desc()).limit(limit + 1)).all()
        return CursorPage.of(rows, limit, describe_session, lambda row: row.id)

    def change_session(self, tenant_id: str, session_id: str, wanted: ChangeSessionRequest) -> dict[str, Any]:
        """Changes a session. Turns that were accepted before keep their version.

        Raises SessionNotFound, and AgentVersionNotFound, also for a session without an agent.
        """
        with self._database.transaction() as session:
            row = find_session(session, tenant_id, session_id, is_locked=True)
            if wanted.name is not None:
                row.name = wanted.name
            if wanted.metadata is not None:
                row.details = wanted.metadata
            if wanted.version_id is not None:
                row.version_id = self._compositions.version_of(session, tenant_id, row.agent_id, wanted.version_id)
            row.updated_at = datetime.now(UTC)
            session.flush()
            return describe_session(row)

    def delete_session(self, tenant_id: str, session_id: str, *, cancel: bool = False) -> None:
        """Deletes a session: it is no longer found from now on, and its layers' delete hooks run.

        Raises SessionNotFound, SessionBusy while a turn runs, unless ``cancel`` is set, and StorageUnavailable.
        """
        self._finalizer.finalize_session(tenant_id, session_id)
        with self._database.transaction() as session:
            row = find_session(session, tenant_id, session_id, is_locked=True)
            running = unfinished_turns(session, row.id)
            if running and not cancel:
                raise SessionBusy
            for turn in running:
                turn.stop = TurnStop.ROLLBACK
            row.state, row.updated_at = SessionState.DELETED, datetime.now(UTC)
            if not running and row.session_snapshot is None:
                purge(session, row.id)
            keys = [TurnKey.of(turn) for turn in running]
        for key in keys:
            self._turns.cancel_run(key.tenant_id, key.run_id, reason=DELETED)
            self._finalizer.finalize(key)
        try:
            self._cleanup.clean(session_id)
        except (CapacityReached, ShuttingDown, StorageUnavailable):
            logger.info("session %s: its cleanup is left to the sweeper", session_id)

    def start_turn(
        self,
        tenant_id: str,
        session_id: str,
        wanted: StartTurnRequest,
        *,
        user_id: str | None,
        idempotency_key: str | None,
    ) -> StartedTurn:
        """Starts a turn, or puts it in line, or returns the one that the idempotency key has started.

        Raises SessionNotFound and what ``TurnService.start_turn`` raises.
        """
        turn = NewTurn(
            wanted.query,
            wanted.inputs,
            multitask_strategy=wanted.multitask_strategy,
            version_id=wanted.version_id,
            metadata=wanted.metadata,
            user_id=user_id,
            claim=claim_of(wanted, idempotency_key, scope=scope_of("turn", tenant_id, session_id)),
        )
        lock = partial(lock_session, tenant_id=tenant_id, session_id=session_id)
        return self._turns.start_turn(tenant_id, lock, turn)

    def list_turns(
        self, tenant_id: str, session_id: str, *, after: str | None, limit: int
    ) -> CursorPage[dict[str, Any]]:
        """Returns a page of a session's turns in their order, after the one that ``after`` names.

        Raises SessionNotFound.
        """
        self._finalizer.finalize_session(tenant_id, session_id)
        with self._database.reading() as session:
            row = find_session(session, tenant_id, session_id)
            wanted = select(SessionTurn).where(SessionTurn.session_id == row.id)
            if after is not None:
                wanted = wanted.where(SessionTurn.position > find_turn(session, row, after).position)
            rows = session.scalars(wanted.order_by(SessionTurn.position).limit(limit + 1)).all()
        return CursorPage.of(rows, limit, describe_turn, lambda turn: turn.id)

    def get_turn(self, tenant_id: str, session_id: str, turn_id: str) -> dict[str, Any]:
        """Returns a turn of a session. Raises SessionNotFound and TurnNotFound."""
        self._finalizer.finalize_session(tenant_id, session_id)
        with self._database.reading() as session:
            row = find_session(session, tenant_id, session_id)
            return describe_turn(find_turn(session, row, turn_id))

    def _sealed(self, tenant_id: str, session_id: str, wanted: CreateSessionRequest) -> str | None:
        """Returns the session's own composition, checked and encrypted; None for a session with an agent."""
        if wanted.composition is None:
            return None
        self._compositions.check(wanted.composition, tenant_id)
        return self._compositions.seal(wanted.composition, tenant_id=tenant_id, session_id=session_id)


def _question(session: Session, row: AgentSession) -> dict[str, Any] | None:
    """Returns the form of the question that waits for its answer, if there is one."""
    form = session.get(HumanInputForm, row.waiting_form_id) if row.waiting_form_id is not None else None
    return {"form_token": form.token, "expires_at": wire_time(form.expires_at)} if form is not None else None
