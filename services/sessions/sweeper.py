"""The sweeper: finalizes turns left behind, cleans up deleted sessions, and gives up questions whose time is over.

Each worker has one. They may overlap: each thing is done once, no matter which of them comes first.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import gevent
from sqlalchemy import select

from errors import DatabaseUnavailable, GreenrunError
from models import HumanInputForm, SessionTurn
from models.enums import FormStatus, TurnStatus
from services.database import Database
from services.sessions.cleanup import SessionCleanup, claim_deleted
from services.sessions.lookup import TurnKey
from services.sessions.turns.finalize import Finalizer
from services.sessions.turns.line import Line

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
LEFT_ALONE = timedelta(seconds=15)
"""The time in which a turn's or session's own worker may act before the sweeper does."""
PAGE = 100

ExpireForm = Callable[[str], None]
"""Gives up a question whose time is over, by the id of its form."""


class Sweeper:
    """A greenlet that looks for work every few seconds, if a database is in use."""

    def __init__(
        self, database: Database, finalizer: Finalizer, line: Line, cleanup: SessionCleanup, *, expire_form: ExpireForm
    ) -> None:
        self._database = database
        self._finalizer = finalizer
        self._line = line
        self._cleanup = cleanup
        self._expire_form = expire_form
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._last_left: str | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._sweep_for_ever)

    def close(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()

    def _sweep_for_ever(self) -> None:
        while True:
            gevent.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 (so that workers do not meet)
            if self._database.is_in_use:
                self._sweep()

    def _sweep(self) -> None:
        """Does one round. What is unavailable now is left to a later one."""
        try:
            left, expired = self._left_turns(), self._expired_forms()
            deleted = self._deleted_sessions()
        except DatabaseUnavailable:
            return
        for key in left:
            self._try(partial(self._finalizer.finalize, key), f"turn {key.turn_id}")
        for session_id in {key.session_id for key in left}:
            self._try(partial(self._line.advance, session_id), f"line of session {session_id}")
        for form_id in expired:
            self._try(partial(self._expire_form, form_id), f"form {form_id}")
        for session_id in deleted:
            self._try(partial(self._cleanup.clean, session_id), f"session {session_id}")

    def _try(self, act: Callable[[], object], what: str) -> None:
        try:
            act()
        except GreenrunError as error:
            logger.info("sweeper: %s: %s", what, error)
        except Exception:  # an error with one item must not keep the others waiting
            logger.exception("sweeper: %s", what)

    def _left_turns(self) -> list[TurnKey]:
        """Returns the next page of such turns, and after the last page the first again: most are just long runs."""
        before = datetime.now(UTC) - LEFT_ALONE
        wanted = select(SessionTurn).where(SessionTurn.status == TurnStatus.RUNNING, SessionTurn.updated_at < before)
        if self._last_left is not None:
            wanted = wanted.where(SessionTurn.id > self._last_left)
        with self._database.reading() as session:
            rows = session.scalars(wanted.order_by(SessionTurn.id).limit(PAGE)).all()
        self._last_left = rows[-1].id if len(rows) == PAGE else None
        return [TurnKey.of(row) for row in rows]

    def _expired_forms(self) -> list[str]:
        waiting = (HumanInputForm.status == FormStatus.WAITING, HumanInputForm.expires_at < datetime.now(UTC))
        with self._database.reading() as session:
            return list(session.scalars(select(HumanInputForm.id).where(*waiting).limit(PAGE)))

    def _deleted_sessions(self) -> list[str]:
        with self._database.transaction() as session:
            return claim_deleted(session, before=datetime.now(UTC) - LEFT_ALONE, limit=PAGE)
