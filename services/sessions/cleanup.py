"""The end of a session: the delete hooks of its layers run, and then all of it is deleted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from errors import InvalidComposition, RunAlreadyEnded, RunNotFound
from models import AgentSession, HumanInputForm, SessionTurn
from models.enums import SessionState
from runtime.protocol.dialects import Dialect
from runtime.protocol.records import RunStatus
from runtime.protocol.requests import CancelRunRequest, CompositionSpec, CreateRunRequest, ExitIntent, LayerSpec, OnExit
from runtime.protocol.snapshots import SessionSnapshot
from runtime.runs import CLEANUP, HeardEnd, Job, Origin, ProvenRun, RunHooks
from services.database import Database
from services.run_access import RunAccess
from services.runs import RunService
from services.sessions.lookup import TurnKey, unfinished_turns
from services.sessions.projection import project

logger = logging.getLogger(__name__)

CANCELLED_LATE = "session_deleted"
"""The reason for cancelling turns that still run although their session was deleted."""


class SessionCleanup:
    """Cleans up sessions that are marked as deleted and have no running turn left."""

    def __init__(self, database: Database, runs: RunService) -> None:
        self._database = database
        self._runs = runs

    def clean(self, session_id: str) -> None:
        """Runs the delete hooks of what the session remembers, and deletes it once they have run.

        Without any hooks to run it is deleted at once. While it has turns that are not finalized, those are only
        cancelled. Raises ShuttingDown, CapacityReached, StorageUnavailable and DatabaseUnavailable; it may be called
        again.
        """
        with self._database.reading() as session:
            row = session.get(AgentSession, session_id)
            if row is None or row.state is not SessionState.DELETED:
                return
            running = [TurnKey.of(turn) for turn in unfinished_turns(session, session_id)]
            proven = self._proven(row) if not running else None
            tenant_id = row.tenant_id
        if running:  # their runs could not be cancelled when the session was deleted
            self._cancel_runs(running)
            return
        if proven is None:
            self._purge(session_id)
            return
        with self._runs.admission(tenant_id, is_counted=False) as place:
            self._runs.begin(proven, place, origin=Origin(kind=CLEANUP, id=session_id))

    def hooks(self, job: Job) -> RunHooks:
        """Returns the hooks of a cleanup run."""
        return CleanupRun()

    def _cancel_runs(self, keys: Sequence[TurnKey]) -> None:
        for key in keys:
            access = RunAccess(frozenset({key.tenant_id}))
            with suppress(RunNotFound, RunAlreadyEnded):
                self._runs.cancel_run(key.run_id, CancelRunRequest(reason=CANCELLED_LATE), access=access)

    def hear(self, heard: Sequence[HeardEnd]) -> None:
        """Deletes the sessions whose cleanup runs have succeeded; the others are tried again later.

        Raises DatabaseUnavailable; it may be called with the same ends again.
        """
        for one in heard:
            session_id = one.end.origin.id
            if one.end.status == RunStatus.SUCCEEDED:
                self._purge(session_id)
            else:
                logger.warning("session %s: its cleanup run %s did not succeed", session_id, one.end.run_id)
            one.acknowledge()

    def _proven(self, row: AgentSession) -> ProvenRun | None:
        """Returns the cleanup run; None when there is nothing to clean up."""
        if row.session_snapshot is None:
            return None
        known = SessionSnapshot.model_validate(row.session_snapshot)
        remembered = {entry.name for entry in known.layers}
        specs = [LayerSpec.model_validate(spec) for spec in row.layer_specs]
        layers = [spec for spec in specs if spec.name in remembered]
        if not layers:
            return None
        request = CreateRunRequest(
            composition=CompositionSpec(layers=layers),
            session_snapshot=project(known, layers, checked=True),
            on_exit=OnExit(default=ExitIntent.DELETE),
            metadata={"session_id": row.id},
        )
        try:
            return self._runs.prove(request, dialect=Dialect.CURRENT)
        except InvalidComposition as error:  # layers that this server no longer knows cannot be cleaned up
            logger.warning("session %s: its layers cannot be cleaned up: %s", row.id, error)
            return None

    def _purge(self, session_id: str) -> None:
        with self._database.transaction() as session:
            purge(session, session_id)


def purge(session: Session, session_id: str) -> None:
    """Deletes a session with all that belongs to it."""
    session.get(AgentSession, session_id, with_for_update=True)
    for table in (HumanInputForm, SessionTurn):
        session.execute(delete(table).where(table.session_id == session_id))
    session.execute(delete(AgentSession).where(AgentSession.id == session_id))


def claim_deleted(session: Session, *, before: datetime, limit: int) -> list[str]:
    """Claims sessions that have waited for their cleanup since ``before``, and returns their ids.

    No other worker gets them until they have waited as long again.
    """
    waiting = (AgentSession.state == SessionState.DELETED, AgentSession.updated_at < before)
    ids = list(session.scalars(select(AgentSession.id).where(*waiting).order_by(AgentSession.updated_at).limit(limit)))
    if not ids:
        return []
    claim = update(AgentSession).where(AgentSession.id.in_(ids), *waiting).values(updated_at=datetime.now(UTC))
    return list(session.scalars(claim.returning(AgentSession.id)))


class CleanupRun(RunHooks):
    """A run that executes the delete hooks of a session's layers. It never waits."""

    def begin(self, proven: ProvenRun | None) -> ProvenRun | None:
        return proven
