"""The line of a session: a turn that ends is finalized, and the one behind it begins."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import aliased

from errors import RunAlreadyEnded, RunNotFound
from models import SessionTurn
from models.enums import TurnStatus
from runtime.protocol.records import RunStatus
from runtime.protocol.requests import CancelRunRequest
from runtime.runs import HeardEnd, Worker
from services.database import Database
from services.run_access import RunAccess
from services.runs import RunService
from services.sessions.lookup import TurnKey, session_and_turn, unfinished_turns
from services.sessions.turns.finalize import Finalizer
from services.sessions.turns.pending import PendingFinalizations
from services.sessions.turns.successes import IS_PLAIN

logger = logging.getLogger(__name__)

INTERRUPTED = "interrupted"

_behind = aliased(SessionTurn)

# Made once: to write a statement takes SQLAlchemy longer than to execute it.
_HEARD = select(
    SessionTurn.id,
    SessionTurn.tenant_id,
    SessionTurn.session_id,
    SessionTurn.run_id,
    SessionTurn.position,
    SessionTurn.status,
    IS_PLAIN.label("is_plain"),
    select(_behind.id)
    .where(
        _behind.session_id == SessionTurn.session_id,
        _behind.status == TurnStatus.RUNNING,
        _behind.position > SessionTurn.position,
    )
    .exists()
    .label("is_followed"),
).where(SessionTurn.id.in_(bindparam("turn_ids", expanding=True)))


class Line:
    """Lets the turns of sessions follow each other, on whichever worker hears of an end."""

    def __init__(
        self,
        database: Database,
        worker: Worker,
        runs: RunService,
        finalizer: Finalizer,
        pending: PendingFinalizations,
    ) -> None:
        self._database = database
        self._worker = worker
        self._runs = runs
        self._finalizer = finalizer
        self._pending = pending

    def hear(self, heard: Sequence[HeardEnd]) -> None:
        """Finalize turns whose runs have ended, and let those behind them begin.

        Raises DatabaseUnavailable, StorageUnavailable and ShuttingDown; it may be told again of all of them.
        """
        turn_ids = [session_and_turn(one.end.origin)[1] for one in heard]
        with self._database.reading() as session:
            rows = {row.id: row for row in session.connection().execute(_HEARD, {"turn_ids": turn_ids})}
        for one in heard:
            session_id, turn_id = session_and_turn(one.end.origin)
            row = rows.get(turn_id)
            if row is not None:
                self._finalize(one, row)
            else:  # it was rolled back, and others may be in line behind it; or its session is gone
                self.advance(session_id)
                one.acknowledge()

    def advance(self, session_id: str) -> None:
        """Finalize the first turns of a session as far as their runs have ended, and start the next one if it waits.

        Raises DatabaseUnavailable, StorageUnavailable and ShuttingDown.
        """
        with self._database.reading() as session:
            turns = unfinished_turns(session, session_id)
        for turn in turns:
            key = TurnKey.of(turn)
            if self._finalizer.finalize(key):
                continue
            if turn.stop is None:
                self._worker.runs.start_waiting(key.run_id)
                return
            self.cancel(key, reason=INTERRUPTED)  # its run may not have been there when it was to be cancelled
            if not self._finalizer.finalize(key):
                return

    def cancel(self, key: TurnKey, *, reason: str) -> None:
        """Cancel the run of a turn, if it is there and has not ended. Raises StorageUnavailable."""
        self.cancel_run(key.tenant_id, key.run_id, reason=reason)

    def cancel_run(self, tenant_id: str, run_id: str, *, reason: str) -> None:
        """As ``cancel``, by the run's id."""
        access = RunAccess(frozenset({tenant_id}))
        with suppress(RunNotFound, RunAlreadyEnded):
            self._runs.cancel_run(run_id, CancelRunRequest(reason=reason), access=access)

    def _finalize(self, one: HeardEnd, row: Any) -> None:
        key = TurnKey(row.tenant_id, row.session_id, row.id, row.run_id, row.position)
        if row.is_plain and not row.is_followed and one.end.status == RunStatus.SUCCEEDED:
            self._pending.add(key, one.acknowledge)
            return
        if row.status is TurnStatus.RUNNING:
            self._finalizer.finalize(key)
        if row.is_followed:
            self.advance(key.session_id)
        one.acknowledge()
