"""What a run does for the turn of a session: it waits for the turns before it, and leaves what it has learnt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import gevent
from gevent.event import Event
from sqlalchemy import bindparam, update

from errors import DatabaseUnavailable, GreenrunError, SessionBusy, StorageUnavailable
from models import SessionTurn
from models.enums import TurnStatus
from runtime.composition.composition import Composition
from runtime.events.follow import Follower
from runtime.execution.hooks import RunHooks, RunNotBegun
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.events import RunEnd
from runtime.protocol.records import RunStatus
from runtime.runtime import Runtime
from services.database import Database
from services.runs import ProvenRun
from services.sessions.backlog import Backlog
from services.sessions.compositions import SessionCompositions, TurnInput, history_of
from services.sessions.lookup import TurnKey, unfinished_turns
from services.sessions.opened import open_session
from services.sessions.questions import settle_question
from services.sessions.settling import PREPARED_COLUMNS, Settler, is_plain_success, prepared

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


class TurnHooks(RunHooks):
    """Of one turn. ``proven`` is None for one that has to wait: what it runs on is known when it begins."""

    def __init__(
        self,
        key: TurnKey,
        turn: TurnInput,
        *,
        proven: ProvenRun | None,
        created_at: datetime,
        version_id: str | None,
        database: Database,
        runtime: Runtime,
        compositions: SessionCompositions,
        settler: Settler,
        backlog: Backlog,
        cancels_forms: bool,
        cancel: Callable[[TurnKey], None],
    ) -> None:
        self._key = key
        self._turn = turn
        self._composition = proven.composition if proven is not None else None
        self._created_at = created_at
        self._version_id = version_id
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

    def begin(self) -> Composition | None:
        try:
            if self._composition is None:
                deadline = time.monotonic() + self._runtime.config.max_wait_seconds
                self._wait_for_turn(deadline)
                self._composition = self._patiently(self._compose, deadline)
        except _Stopped:
            return None
        except GreenrunError as error:
            raise RunNotBegun(RunEnd.failed(error.message, reason=error.code)) from error
        history = history_of(self._composition)
        self._known_messages = len(history.state.messages) if history else 0
        return self._composition

    def stop(self) -> None:
        self._stopped.set()
        if self._follower is not None:
            self._follower.stop()

    def prepare(self, end: RunEnd) -> None:
        if end.status is not RunStatus.SUCCEEDED or self._composition is None:
            return
        history = history_of(self._composition)
        messages = history.state.messages[self._known_messages :] if history else []
        values = prepared(self._key.turn_id, end.data, messages, self._created_at)
        try:
            self._database.execute(_PREPARE, {"turn_id": self._key.turn_id, **values})
            self._is_prepared = True
        except DatabaseUnavailable:  # who settles it takes it from the run's events
            logger.warning("run %s: its turn was not prepared: the database is away", self._key.run_id)

    def settle(self, end: RunEnd | None) -> None:
        try:
            if self._is_prepared and end is not None and is_plain_success(end):
                self._backlog.add(self._key)
            else:
                self._settler.settle(self._key)
        except (DatabaseUnavailable, StorageUnavailable):  # whoever needs it does it, and else the sweeper
            logger.warning("run %s: its turn was not settled yet: the storage is away", self._key.run_id)

    def _wait_for_turn(self, deadline: float) -> None:
        """Until every turn before this one is settled. Raises _Stopped, and RunNotBegun when that takes too long."""
        while (before := self._patiently(self._unfinished, deadline)) != []:
            for turn in before:
                self._wait_until_settled(turn, deadline)

    def _wait_until_settled(self, turn: SessionTurn, deadline: float) -> None:
        key = TurnKey.of(turn)
        while True:
            # Before the look at the run: behind an end that came between the two nothing would ever follow.
            after = self._patiently(lambda: self._runtime.store.last_cursor(key.run_id), deadline) or BEGINNING
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

    def _unfinished(self) -> list[SessionTurn]:
        with self._database.reading() as session:
            return unfinished_turns(session, self._key.session_id, before=self._key.position)

    def _follow(self, key: TurnKey, after: str, deadline: float) -> None:
        """Until the run of an earlier turn has ended, or its stream is cut."""
        store, hub, stream = self._runtime.store, self._runtime.hub, self._runtime.keys.events(key.run_id)
        self._follower = Follower(key.run_id, stream, after=after, store=store, hub=hub, heartbeat=LOOK_SECONDS)
        try:
            for _ in self._follower:
                self._check_patience(deadline)
        finally:
            self._follower = None
        self._stopped.wait(RETRY_SECONDS if after == BEGINNING else 0)

    def _compose(self) -> Composition:
        with self._database.transaction() as session:
            row = open_session(session, self._key.tenant_id, self._key.session_id)
            turn = session.get(SessionTurn, self._key.turn_id)
            if turn is None or turn.status is not TurnStatus.RUNNING:  # this worker was given up while it waited
                raise _Stopped
            is_answer = self._turn.deferred_results is not None  # those before it may have ended with a question
            settle_question(session, row, is_answer=is_answer, cancels=self._cancels_forms)
            row.store(session)
            return self._compositions.prove(session, row, self._turn, version_id=self._version_id).composition
