"""What a run does for the turn of a session: it waits for the turns before it, and leaves what it has learnt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from sqlalchemy import bindparam, update

from errors import DatabaseUnavailable, GreenrunError, SessionBusy, StorageUnavailable
from models import SessionTurn
from models.enums import TurnStatus
from runtime.composition.composition import Composition
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.events import RunEnd
from runtime.protocol.records import RunStatus
from runtime.runs import Follower, Job, ProvenRun, RunHooks, RunNotBegun
from runtime.runtime import Runtime
from services.database import Database
from services.sessions.turns.pending import Backlog
from services.sessions.compositions import SessionCompositions, TurnInput, history_of
from services.sessions.lookup import TurnKey, unfinished_turns
from services.sessions.opened import open_session
from services.sessions.questions import settle_question
from services.sessions.turns.finish import PREPARED_COLUMNS, Settler, is_plain_success, prepared

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a turn that waits looks whether it has been stopped or has waited for too long."""
RETRY_SECONDS = 0.2


class _Stopped(Exception):
    """The turn was stopped while it waited."""


# Made once: to write a statement takes SQLAlchemy longer than to execute it.
_PREPARE = (
    update(SessionTurn)
    .where(SessionTurn.id == bindparam("turn_id"), SessionTurn.status == TurnStatus.RUNNING)
    .values({name: bindparam(name) for name in PREPARED_COLUMNS})
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenTurn(ProvenRun):
    """What a turn executes. What one executes that ``waits`` is made anew when its time comes."""

    key: TurnKey
    input: TurnInput = field(repr=False)
    version_id: str | None
    created_at: datetime
    waits: bool


class TurnHooks(RunHooks):
    """Of one turn."""

    def __init__(
        self,
        job: Job,
        *,
        database: Database,
        runtime: Runtime,
        compositions: SessionCompositions,
        settler: Settler,
        backlog: Backlog,
        cancels_forms: bool,
        cancel: Callable[[TurnKey], None],
    ) -> None:
        self._run_id = job.run_id
        self._key: TurnKey | None = None
        self._turn: ProvenTurn | None = None
        self._database = database
        self._runtime = runtime
        self._compositions = compositions
        self._settler = settler
        self._backlog = backlog
        self._cancels_forms = cancels_forms
        self._cancel = cancel
        self._stopped = Event()
        self._follower: Follower | None = None
        self._known_messages = 0
        self._is_prepared = False

    def begin(self, proven: ProvenRun | None) -> ProvenRun | None:
        if not isinstance(proven, ProvenTurn):
            return None
        self._key = proven.key
        try:
            turn = self._wait(proven) if proven.waits else proven
        except _Stopped:
            return None
        except GreenrunError as error:
            raise RunNotBegun(RunEnd.failed(error.message, reason=error.code)) from error
        history = history_of(turn.composition)
        self._known_messages = len(history.state.messages) if history else 0
        self._turn = turn
        return turn

    def stop(self) -> None:
        self._stopped.set()
        if self._follower is not None:
            self._follower.stop()

    def prepare(self, end: RunEnd) -> None:
        turn = self._turn
        if end.status is not RunStatus.SUCCEEDED or turn is None:
            return
        history = history_of(turn.composition)
        messages = history.state.messages[self._known_messages :] if history else []
        values = prepared(turn.key.turn_id, end.data, messages, turn.created_at)
        try:
            self._database.execute(_PREPARE, {"turn_id": turn.key.turn_id, **values})
            self._is_prepared = True
        except DatabaseUnavailable:  # who settles it takes it from the run's events
            logger.warning("run %s: its turn was not prepared: the database is away", self._run_id)

    def settle(self, end: RunEnd | None) -> None:
        if self._key is None:
            return
        try:
            if self._is_prepared and end is not None and is_plain_success(end):
                self._backlog.add(self._key)
            else:
                self._settler.settle(self._key)
        except (DatabaseUnavailable, StorageUnavailable):  # whoever needs it does it, and else the sweeper
            logger.warning("run %s: its turn was not settled yet: the storage is away", self._run_id)

    def _wait(self, turn: ProvenTurn) -> ProvenTurn:
        """Until every turn before this one is settled. Raises _Stopped, and RunNotBegun when that takes too long."""
        deadline = time.monotonic() + self._runtime.config.max_wait_seconds
        while (before := self._patiently(partial(self._unfinished, turn.key), deadline)) != []:
            for earlier in before:
                self._wait_until_settled(earlier, deadline)
        composition: Composition = self._patiently(partial(self._compose, turn), deadline)
        return replace(turn, composition=composition)

    def _wait_until_settled(self, turn: SessionTurn, deadline: float) -> None:
        key = TurnKey.of(turn)
        while True:
            # Before the look at the run: behind an end that came between the two nothing would ever follow.
            after = self._patiently(lambda: self._runtime.runs.last_cursor(key.run_id), deadline) or BEGINNING
            if self._patiently(lambda: self._settler.settle(key), deadline):
                return
            if turn.stop is not None:  # its run may not have been there yet when it was to be cancelled
                self._patiently(lambda: self._cancel(key), deadline)
            self._follow(key, after, deadline)

    def _patiently(self, ask: Any, deadline: float) -> Any:
        """An answer, as soon as the database and Redis give one."""
        while True:
            self._check_patience(deadline)
            try:
                return ask()
            except (DatabaseUnavailable, StorageUnavailable):
                gevent.sleep(RETRY_SECONDS)

    def _check_patience(self, deadline: float) -> None:
        if self._stopped.is_set():
            raise _Stopped
        if time.monotonic() > deadline:
            seconds = self._runtime.config.max_wait_seconds
            error = f"the turn waited longer than {seconds:g} seconds for those before it"
            raise RunNotBegun(RunEnd.failed(error, reason=SessionBusy.code))

    def _unfinished(self, key: TurnKey) -> list[SessionTurn]:
        with self._database.reading() as session:
            return unfinished_turns(session, key.session_id, before=key.position)

    def _follow(self, key: TurnKey, after: str, deadline: float) -> None:
        """Until the run of an earlier turn has ended, or its stream is cut."""
        found = self._patiently(partial(self._runtime.runs.find, key.run_id, after=after), deadline)
        if found is not None:
            self._follower = self._runtime.runs.follow(found, heartbeat=LOOK_SECONDS)
            try:
                for _ in self._follower:
                    self._check_patience(deadline)
            finally:
                self._follower = None
        self._stopped.wait(RETRY_SECONDS if after == BEGINNING else 0)

    def _compose(self, turn: ProvenTurn) -> Composition:
        with self._database.transaction() as session:
            row = open_session(session, turn.key.tenant_id, turn.key.session_id)
            stored = session.get(SessionTurn, turn.key.turn_id)
            if stored is None or stored.status is not TurnStatus.RUNNING:  # this worker was given up while it waited
                raise _Stopped
            is_answer = turn.input.deferred_results is not None  # those before it may have ended with a question
            settle_question(session, row, is_answer=is_answer, cancels=self._cancels_forms)
            row.store(session)
            return self._compositions.prove(session, row, turn.input, version_id=turn.version_id).composition
