"""Executing a turn: what its run is made of when its time comes, and what it leaves for its session."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import gevent
from gevent.event import Event
from sqlalchemy import bindparam, update

from errors import DatabaseUnavailable, GreenrunError
from models import SessionTurn
from models.enums import TurnStatus
from runtime.protocol.events import RunEnd
from runtime.protocol.records import RunStatus
from runtime.runs import Job, ProvenRun, RunHooks, RunNotBegun
from services.database import Database
from services.sessions.compositions import SessionCompositions, TurnInput, history_of
from services.sessions.locked_session import lock_session
from services.sessions.lookup import TurnKey, session_and_turn
from services.sessions.questions import resolve_question
from services.sessions.turns.finalize import PREPARED_COLUMNS, prepared

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.2


class _Gone(Exception):
    """The turn has been stopped or finalized by somebody else."""


# Made once: to write a statement takes SQLAlchemy longer than to execute it.
_PREPARE = (
    update(SessionTurn)
    .where(SessionTurn.id == bindparam("turn_id"), SessionTurn.status == TurnStatus.RUNNING)
    .values({name: bindparam(name) for name in PREPARED_COLUMNS})
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenTurn(ProvenRun):
    """What a turn executes."""

    key: TurnKey
    created_at: datetime

    @classmethod
    def of(cls, proven: ProvenRun, key: TurnKey, created_at: datetime) -> Self:
        return cls(
            composition=proven.composition,
            dialect=proven.dialect,
            layers=proven.layers,
            deferred_results=proven.deferred_results,
            key=key,
            created_at=created_at,
        )


class TurnHooks(RunHooks):
    """Of the run of one turn. One that has waited in line is made of its row, as soon as the database gives it."""

    def __init__(
        self,
        job: Job,
        *,
        database: Database,
        compositions: SessionCompositions,
        cancels_forms: bool,
        patience_seconds: float,
    ) -> None:
        self._job = job
        self._turn: ProvenTurn | None = None
        self._database = database
        self._compositions = compositions
        self._cancels_forms = cancels_forms
        self._patience = patience_seconds
        self._stopped = Event()
        self._known_messages = 0

    def begin(self, proven: ProvenRun | None) -> ProvenRun | None:
        try:
            turn = proven if isinstance(proven, ProvenTurn) else self._compose_patiently()
        except _Gone:
            return None
        except GreenrunError as error:
            raise RunNotBegun(RunEnd.failed(error.message, reason=error.code)) from error
        history = history_of(turn.composition)
        self._known_messages = len(history.state.messages) if history else 0
        self._turn = turn
        return turn

    def stop(self) -> None:
        self._stopped.set()

    def prepare(self, end: RunEnd) -> None:
        turn = self._turn
        if end.status is not RunStatus.SUCCEEDED or turn is None:
            return
        history = history_of(turn.composition)
        messages = history.state.messages[self._known_messages :] if history else []
        values = prepared(turn.key.turn_id, end.data, messages, turn.created_at)
        try:
            self._database.execute(_PREPARE, {"turn_id": turn.key.turn_id, **values})
        except DatabaseUnavailable:  # who finalizes it takes it from the run's events
            logger.warning("run %s: its turn was not prepared: the database is away", self._job.run_id)

    def _compose_patiently(self) -> ProvenTurn:
        """Raises _Gone, and what ``SessionCompositions.prove`` raises."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._compose()
            except DatabaseUnavailable:
                if time.monotonic() > deadline:
                    raise
            gevent.sleep(RETRY_SECONDS)

    def _compose(self) -> ProvenTurn:
        _, turn_id = session_and_turn(self._job.origin)
        with self._database.reading() as session:
            found = session.get(SessionTurn, turn_id)
            key = TurnKey.of(found) if found is not None else None
        if key is None:
            raise _Gone
        with self._database.transaction() as session:
            row = lock_session(session, key.tenant_id, key.session_id)
            turn = session.get(SessionTurn, key.turn_id)
            if self._stopped.is_set() or turn is None or turn.status is not TurnStatus.RUNNING:
                raise _Gone
            # Those before it may have ended with a question. An answer to one never waits in line.
            resolve_question(session, row, is_answer=False, cancels=self._cancels_forms)
            row.store(session)
            wanted = TurnInput(turn.query, turn.inputs, self._job.user_id)
            proven = self._compositions.prove(session, row, wanted, version_id=turn.version_id)
            return ProvenTurn.of(proven, key, turn.created_at)
