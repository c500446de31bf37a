"""Chat turns: a message to an app becomes a turn of its conversation, and the events of its run become chat frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from errors import (
    AgentArchived,
    AppForbidden,
    AppUnavailable,
    DatabaseUnavailable,
    ItemNotFound,
    RequestRefused,
    RunNotFound,
    SessionNotFound,
    StorageUnavailable,
)
from models import Agent, AgentSession, HumanInputForm, SessionTurn
from models.enums import TurnStatus
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.ids import is_id, new_id
from runtime.runs import Follower
from services.chat import frames
from services.chat.apps import App
from services.chat.chat_requests import FILES, ChatMessageRequest, prompt_of
from services.chat.conversations import CONVERSATION_NOT_FOUND
from services.chat.end_users import EndUserService
from services.chat.failures import STREAM_BROKE_OFF
from services.chat.frames import ChatTurn, FormTicket
from services.chat.namer import Namer
from services.chat.naming import DEFAULT_NAME, name_of
from services.chat.replay import stored_frames
from services.chat.stream import ChatResult, ChatStream
from services.database import Database
from services.run_access import RunAccess
from services.runs import RunService
from services.sessions.locked_session import LockedSession, SessionAgent, lock_session
from services.sessions.lookup import find_session, find_turn
from services.sessions.turns.accept import TurnService
from services.sessions.turns.finalize import Finalizer
from services.sessions.turns.types import NewTurn, StartedTurn

logger = logging.getLogger(__name__)

PING_SECONDS = 10.0
STOPPED = "stopped"
LEFT = "the reader left"
STREAMING_ONLY = "Agent App only supports streaming response mode."


@dataclass(frozen=True, slots=True)
class ChatRules:
    """The operator's settings for chats."""

    is_strict: bool
    """Whether to refuse what Dify refuses although Greenrun could do it."""
    stops_unread: bool
    """Whether the turn is stopped when its reader leaves."""
    names_by_model: bool
    """Whether the model names new conversations; otherwise they are named after their first question."""


class ChatService:
    """Starts, streams and stops the turns of chats."""

    def __init__(
        self,
        database: Database,
        runs: RunService,
        end_users: EndUserService,
        turns: TurnService,
        finalizer: Finalizer,
        namer: Namer,
        rules: ChatRules,
    ) -> None:
        self._database = database
        self._runs = runs
        self._end_users = end_users
        self._turns = turns
        self._finalizer = finalizer
        self._namer = namer
        self._rules = rules

    def start(self, app: App, wanted: ChatMessageRequest) -> ChatTurn:
        """Starts the turn of a message, in its conversation or in a new one.

        Raises ParameterRefused, RequestRefused, ItemNotFound for a conversation, AppForbidden, AppUnavailable, and what
        ``TurnService.start_turn`` raises.
        """
        user, query = wanted.require_user(), wanted.require_query()
        if self._rules.is_strict:
            wanted.require_inputs()
        if self._rules.is_strict and wanted.response_mode == "blocking":
            raise RequestRefused(STREAMING_ONLY)
        end_user_id = self._end_users.find_or_make(app, user)

        def lock(session: Session) -> LockedSession:
            if wanted.conversation_id is not None:
                return _find(session, app, end_user_id, wanted.conversation_id)
            return _make(session, app, end_user_id, wanted)

        locators = wanted.file_locators
        turn = NewTurn(
            prompt_of(query, locators),
            metadata={FILES: locators} if locators else {},
            user_id=user,
        )
        try:
            started = self._turns.start_turn(app.tenant_id, lock, turn)
        except AgentArchived:
            raise AppForbidden from None
        if wanted.conversation_id is None and wanted.auto_generate_name:
            self._namer.name_later(started.key.session_id, query)
        return chat_turn(started)

    def answer(self, tenant_id: str, turn: ChatTurn) -> Iterator[bytes]:
        """Streams a turn's frames to the client that started it.

        If the operator has set so, the turn is stopped when that client leaves.
        """
        return self._until_left(tenant_id, turn) if self._rules.stops_unread else self.follow(tenant_id, turn)

    def follow(self, tenant_id: str, turn: ChatTurn) -> Iterator[bytes]:
        """Streams a turn's frames from its beginning to its end, on any worker.

        The first one is empty: it lets the response begin. When the run's events are gone, the frames are made from the
        stored turn. Raises StorageUnavailable and DatabaseUnavailable before the first frame.
        """
        try:
            follower = self._follower(tenant_id, turn)
        except RunNotFound:
            return iter([self._stored(tenant_id, turn)])
        return self._frames(tenant_id, turn, follower)

    def wait(self, tenant_id: str, turn: ChatTurn) -> ChatResult:
        """Waits for the end of a turn and returns its result."""
        stream = ChatStream(turn, lambda: self._find_form(tenant_id, turn))
        with self._follower(tenant_id, turn) as follower:
            for entries in _batches(follower):
                stream.feed(entries)
        stream.break_off()
        return stream.result

    def find_turn(self, tenant_id: str, session_id: str, turn_id: str, *, agent_id: str | None) -> ChatTurn:
        """Finds a turn to follow it again, among those of ``agent_id`` if it is given.

        Raises SessionNotFound and TurnNotFound.
        """
        with self._database.reading() as session:
            row = find_session(session, tenant_id, session_id)
            if agent_id is not None and row.agent_id != agent_id:
                raise SessionNotFound
            turn = find_turn(session, row, turn_id)
        return ChatTurn(row.id, turn.id, turn.task_id, turn.run_id, int(turn.created_at.timestamp()))

    def stop(self, app: App, task_id: str, *, user: str) -> None:
        """Stops a turn of this user. Unknown, foreign and finished turns are ignored."""
        end_user_id = self._end_users.find(app, user)
        if end_user_id is None or not is_id(task_id):
            return
        wanted = (
            select(SessionTurn.run_id)
            .join(AgentSession, AgentSession.id == SessionTurn.session_id)
            .where(SessionTurn.task_id == task_id, AgentSession.end_user_id == end_user_id)
        )
        with self._database.reading() as session:
            run_id = session.scalar(wanted)
        if run_id is not None:
            self._turns.cancel_run(app.tenant_id, run_id, reason=STOPPED)

    def _until_left(self, tenant_id: str, turn: ChatTurn) -> Iterator[bytes]:
        try:
            yield from self.follow(tenant_id, turn)
        except GeneratorExit:
            self._turns.cancel_run(tenant_id, turn.run_id, reason=LEFT)
            raise

    def _frames(self, tenant_id: str, turn: ChatTurn, follower: Follower) -> Iterator[bytes]:
        stream = ChatStream(turn, lambda: self._find_form(tenant_id, turn))
        with follower:
            yield b""
            try:
                for entries in _batches(follower):
                    yield stream.feed(entries) if entries else frames.PING
            except (DatabaseUnavailable, StorageUnavailable):  # while looking for a form; following again finds it
                logger.warning("run %s: its chat breaks off: the storage is away", turn.run_id)
        if tail := stream.break_off():
            yield tail

    def _stored(self, tenant_id: str, turn: ChatTurn) -> bytes:
        """Returns the frames of a turn whose run is gone. It may have been rolled back, or not be finalized yet."""
        form = self._find_form(tenant_id, turn)
        with self._database.reading() as session:
            row = session.get(SessionTurn, turn.message_id)
            if row is None or row.status is TurnStatus.RUNNING:
                return frames.error(turn, STREAM_BROKE_OFF)
            return stored_frames(turn, row, form)

    def _follower(self, tenant_id: str, turn: ChatTurn) -> Follower:
        access = RunAccess(frozenset({tenant_id}))
        return self._runs.follow_run(turn.run_id, access=access, after=BEGINNING, heartbeat=PING_SECONDS)

    def _find_form(self, tenant_id: str, turn: ChatTurn) -> FormTicket | None:
        """Returns the form for the question with which a turn has ended. Finalizing the turn creates it."""
        self._finalizer.finalize_session(tenant_id, turn.conversation_id)
        with self._database.reading() as session:
            row = session.scalar(select(HumanInputForm).where(HumanInputForm.turn_id == turn.message_id))
            return FormTicket(row.token, row.expires_at) if row is not None else None


def chat_turn(started: StartedTurn) -> ChatTurn:
    """Returns what the frames of a chat say of a turn."""
    key = started.key
    return ChatTurn(key.session_id, key.turn_id, started.task_id, key.run_id, int(started.created_at.timestamp()))


def _batches(follower: Follower) -> Iterator[Any]:
    """Yields what a follower reads, without a first empty batch, which only says that nothing has come yet."""
    is_first = True
    while (entries := follower.read()) is not None:
        if entries or not is_first:
            yield entries
        is_first = False


def _find(session: Session, app: App, end_user_id: str, conversation_id: str) -> LockedSession:
    try:
        row = lock_session(session, app.tenant_id, conversation_id)
    except SessionNotFound:
        raise ItemNotFound(CONVERSATION_NOT_FOUND) from None
    if row.agent is None or (row.agent.id, row.end_user_id) != (app.agent_id, end_user_id):
        raise ItemNotFound(CONVERSATION_NOT_FOUND)
    return row


# Built once: SQLAlchemy takes longer to build a statement than to execute it.
_APP = select(Agent.status, Agent.app_id, Agent.active_config_snapshot_id).where(
    Agent.id == bindparam("agent"), Agent.tenant_id == bindparam("tenant")
)


def _make(session: Session, app: App, end_user_id: str, wanted: ChatMessageRequest) -> LockedSession:
    """Creates a conversation, with the version that is active now."""
    given = {"agent": app.agent_id, "tenant": app.tenant_id}
    status, app_id, version_id = session.connection().execute(_APP, given).one()
    if version_id is None:
        raise AppUnavailable
    return LockedSession(
        id=new_id(),
        tenant_id=app.tenant_id,
        agent=SessionAgent(app.agent_id, status, app_id),
        end_user_id=end_user_id,
        inputs=wanted.inputs or {},
        version_id=version_id,
        name=name_of(wanted.query) if wanted.auto_generate_name else DEFAULT_NAME,
    )
