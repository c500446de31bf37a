"""Forms: a person answers an agent's question, or lets the time run out, and the conversation continues by itself."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from errors import (
    CapacityReached,
    FormCancelled,
    FormExpired,
    FormSubmitted,
    GreenrunError,
    ItemNotFound,
    SessionBusy,
)
from models import AgentSession, EndUser, HumanInputForm, SessionTurn
from models.enums import FormStatus, MultitaskStrategy, SessionState
from runtime.protocol.ask_human import AskHumanArguments, AskHumanResult
from runtime.protocol.requests import DeferredToolResults
from services.database import Database
from services.sessions.form_answers import TIMED_OUT, submitted
from services.sessions.locked_session import LockedSession, lock_session
from services.sessions.turns.accept import TurnService
from services.sessions.turns.types import NewTurn

logger = logging.getLogger(__name__)

FORM_NOT_FOUND = "Form Not Exists."

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class FormAddress:
    """What a person's request for a form names."""

    tenant_id: str
    agent_id: str
    token: str = field(repr=False)
    user: str | None = None
    """The end user who asks, if the request says so."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A form of a session that still exists, with what the continuing turn takes from the one that asked."""

    form: HumanInputForm
    query: str
    inputs: Mapping[str, JsonValue]
    metadata: Mapping[str, JsonValue]
    user_id: str | None

    @property
    def question(self) -> AskHumanArguments:
        return AskHumanArguments.model_validate(self.form.question)


class FormService:
    """Shows forms, takes their answers and lets them expire.

    Its methods raise DatabaseUnavailable besides the errors they name.
    """

    def __init__(self, database: Database, turns: TurnService) -> None:
        self._database = database
        self._turns = turns

    def describe(self, address: FormAddress) -> dict[str, Any]:
        """Returns what a person is asked, and whether it can still be answered. Raises ItemNotFound."""
        form = self._find_at(address).form
        question = form.question
        return {
            "form_token": form.token,
            "status": FormStatus.TIMEOUT if _is_late(form) else form.status,
            "title": question.get("title"),
            "question": question["question"],
            "markdown": question.get("markdown"),
            "fields": question["fields"],
            "actions": question["actions"],
            "expires_at": int(form.expires_at.timestamp()),
        }

    def submit(self, address: FormAddress, action: str, values: Mapping[str, JsonValue]) -> str:
        """Submits the answer to a form and returns the id of the turn that continues with it.

        Of several answers at once one is accepted. Raises ItemNotFound, FormSubmitted, FormCancelled, FormExpired,
        MalformedRequest for what does not fit the form, SessionBusy while a turn that was in line before runs, and what
        ``start_turn`` raises; the form then stays open.
        """
        found = self._find_at(address)
        _require_waiting(found.form)
        return self._go_on(found, FormStatus.SUBMITTED, submitted(found.question, action, values))

    def expire(self, form_id: str) -> None:
        """Lets the model know that nobody answered in time, unless somebody has.

        If no turn can continue, because the agent is archived or cannot run, the question is only given up. Raises
        SessionBusy, ShuttingDown, CapacityReached, StorageUnavailable and other temporary errors: it may be called
        again.
        """
        found = self._find(HumanInputForm.id == form_id)
        try:
            if found is not None:
                self._go_on(found, FormStatus.TIMEOUT, TIMED_OUT)
                return
        except (FormSubmitted, FormCancelled, FormExpired):
            return
        except GreenrunError as error:
            if error.status >= 500 or isinstance(error, (SessionBusy, CapacityReached)):
                raise
            logger.info("form %s: no turn goes on with it: %s", form_id, error.code)
        self._give_up(form_id)

    def _find_at(self, address: FormAddress) -> _Found:
        found = None
        if _TOKEN.fullmatch(address.token):
            here = (HumanInputForm.tenant_id == address.tenant_id, AgentSession.agent_id == address.agent_id)
            of_user = (EndUser.external_user_id == address.user,) if address.user else ()
            found = self._find(HumanInputForm.token == address.token, *here, *of_user)
        if found is None:
            raise ItemNotFound(FORM_NOT_FOUND)
        return found

    def _find(self, *which: ColumnElement[bool]) -> _Found | None:
        user = func.coalesce(EndUser.external_user_id, AgentSession.created_by)
        wanted = (
            select(HumanInputForm, SessionTurn.query, SessionTurn.inputs, SessionTurn.details, user)
            .join(AgentSession, AgentSession.id == HumanInputForm.session_id)
            .join(SessionTurn, SessionTurn.id == HumanInputForm.turn_id)
            .outerjoin(EndUser, EndUser.id == AgentSession.end_user_id)
            .where(AgentSession.state == SessionState.ACTIVE, *which)
        )
        with self._database.reading() as session:
            row = session.execute(wanted).one_or_none()
        return _Found(*row) if row is not None else None

    def _go_on(self, found: _Found, status: FormStatus, result: AskHumanResult) -> str:
        """Closes the form and starts the turn that continues, both or neither."""
        known, value = found.form, result.model_dump(mode="json")

        def lock(session: Session) -> LockedSession:
            row = lock_session(session, known.tenant_id, known.session_id)
            form = session.get_one(HumanInputForm, known.id)
            if status is FormStatus.SUBMITTED or form.status is not FormStatus.WAITING:
                _require_waiting(form)
            form.status, form.result = status, value
            return row

        turn = NewTurn(
            found.query,
            found.inputs,
            multitask_strategy=MultitaskStrategy.REJECT,
            metadata=found.metadata,
            user_id=found.user_id,
            deferred_results=DeferredToolResults(calls={known.tool_call_id: value}),
        )
        return self._turns.start_turn(known.tenant_id, lock, turn).key.turn_id

    def _give_up(self, form_id: str) -> None:
        closed = {"status": FormStatus.TIMEOUT, "result": TIMED_OUT.model_dump(mode="json")}
        with self._database.transaction() as session:
            form = session.get(HumanInputForm, form_id)
            if form is None:
                return
            # The session first, in the order that everybody locks in, so that there is no deadlock.
            mine = (AgentSession.id == form.session_id, AgentSession.waiting_form_id == form_id)
            session.execute(update(AgentSession).where(*mine).values(waiting_form_id=None))
            waiting = (HumanInputForm.id == form_id, HumanInputForm.status == FormStatus.WAITING)
            session.execute(update(HumanInputForm).where(*waiting).values(closed))


def _require_waiting(form: HumanInputForm) -> None:
    """Raises FormSubmitted, FormCancelled or FormExpired for a form that can no longer be answered."""
    if form.status is FormStatus.SUBMITTED:
        raise FormSubmitted
    if form.status is FormStatus.CANCELLED:
        raise FormCancelled
    if form.status is FormStatus.TIMEOUT or _is_late(form):
        raise FormExpired


def _is_late(form: HumanInputForm) -> bool:
    return form.status is FormStatus.WAITING and form.expires_at <= datetime.now(UTC)
