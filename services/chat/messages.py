"""Messages: the turns of conversations, as Dify's service API shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from errors import ItemNotFound, RequestRefused
from models import AgentConfigSnapshot, AgentSession, SessionTurn
from runtime.protocol.ids import is_id
from services.chat.app_info import suggests_questions
from services.chat.apps import App
from services.chat.conversations import find_conversation, is_of
from services.chat.end_users import EndUserService
from services.chat.message_items import message_item
from services.chat.requests import MessagesQuery
from services.database import Database
from services.pages import Page

MESSAGE_NOT_FOUND = "Message Not Exists."
FIRST_NOT_FOUND = "First Message Not Exists."
SUGGESTIONS_DISABLED = "Suggested Questions Is Disabled."

# The prepared snapshot may be large, and is not shown.
_SHOWN = defer(SessionTurn.prepared_snapshot, raiseload=True)

SuggestQuestions = Callable[[App, SessionTurn], list[str]]
"""Suggests what the end user may ask next. It is called outside of any transaction."""


class FinalizesTurns(Protocol):
    """Finalizes the turns of a session that have ended in the meantime."""

    def finalize_session(self, tenant_id: str, session_id: str, /) -> object: ...


class MessageService:
    """What end users read of their messages. Its methods raise DatabaseUnavailable besides the errors they name."""

    def __init__(
        self,
        database: Database,
        end_users: EndUserService,
        *,
        finalizer: FinalizesTurns,
        suggest: SuggestQuestions,
    ) -> None:
        self._database = database
        self._end_users = end_users
        self._finalizer = finalizer
        self._suggest = suggest

    def list_messages(self, app: App, query: MessagesQuery) -> Page[dict[str, Any]]:
        """Returns the newest messages, or the newest of those before ``first_id``. Raises ItemNotFound."""
        if query.conversation_id is None:
            return Page([], query.limit, has_more=False)
        end_user_id = self._end_users.find(app, query.user_or_default)
        with self._database.reading() as session:
            conversation = find_conversation(session, app, end_user_id, query.conversation_id)
        self._finalizer.finalize_session(app.tenant_id, conversation.id)
        with self._database.reading() as session:
            return _page(session, conversation.id, query)

    def suggest_questions(self, app: App, message_id: str, *, user: str) -> list[str]:
        """Returns questions that may follow a message.

        Raises ItemNotFound, RequestRefused when the agent suggests nothing, and what ``suggest`` raises.
        """
        end_user_id = self._end_users.find(app, user)
        with self._database.reading() as session:
            turn = find_message(session, app, end_user_id, message_id)
        self._finalizer.finalize_session(app.tenant_id, turn.session_id)
        with self._database.reading() as session:
            turn = find_message(session, app, end_user_id, message_id)
            soul = session.scalar(
                select(AgentConfigSnapshot.config_snapshot)
                .join(AgentSession, AgentSession.version_id == AgentConfigSnapshot.id)
                .where(AgentSession.id == turn.session_id)
            )
        if not suggests_questions(soul or {}):
            raise RequestRefused(SUGGESTIONS_DISABLED)
        return self._suggest(app, turn)


def find_message(
    session: Session, app: App, end_user_id: str | None, message_id: str, *, lock: bool = False
) -> SessionTurn:
    """Returns a message of an end user's conversation with an app.

    ``lock`` keeps others from changing it until the transaction ends. Raises ItemNotFound.
    """
    wanted = select(SessionTurn).join(AgentSession, AgentSession.id == SessionTurn.session_id)
    wanted = wanted.where(SessionTurn.id == message_id, *is_of(app, end_user_id)).options(_SHOWN)
    if lock:
        wanted = wanted.with_for_update(of=SessionTurn)
    row = session.scalar(wanted) if end_user_id is not None and is_id(message_id) else None
    if row is None:
        raise ItemNotFound(MESSAGE_NOT_FOUND)
    return row


def _page(session: Session, session_id: str, query: MessagesQuery) -> Page[dict[str, Any]]:
    wanted = select(SessionTurn).where(SessionTurn.session_id == session_id).options(_SHOWN)
    if query.first_id is not None:
        known = select(SessionTurn.position).where(
            SessionTurn.id == query.first_id, SessionTurn.session_id == session_id
        )
        first = session.scalar(known)
        if first is None:
            raise ItemNotFound(FIRST_NOT_FOUND)
        wanted = wanted.where(SessionTurn.position < first)
    # One more than the page: it is the parent of the page's oldest message.
    newest_first = session.scalars(wanted.order_by(SessionTurn.position.desc()).limit(query.limit + 1)).all()
    parents = [*(row.id for row in newest_first[1:]), None]
    items = [message_item(row, parent_id=parent) for row, parent in zip(newest_first, parents, strict=False)]
    return Page(items[: query.limit][::-1], query.limit, has_more=len(newest_first) > query.limit)
