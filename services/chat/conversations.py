"""Conversations: the sessions of end users, as Dify's service API shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, literal, select, tuple_
from sqlalchemy.orm import Session, load_only

from errors import ItemNotFound, SessionNotFound
from models import AgentSession, SessionTurn
from models.enums import SessionState
from runtime.protocol.ids import is_id
from services.chat.apps import App
from services.chat.chat_requests import query_of
from services.chat.end_users import EndUserService
from services.chat.openings import Openings
from services.chat.requests import ConversationsQuery, RenameRequest
from services.database import Database
from services.pages import Page
from services.souls.variables import FilledTextTooLong, fill_prompt

CONVERSATION_NOT_FOUND = "Conversation Not Exists."
LAST_NOT_FOUND = "Last Conversation Not Exists."


# The snapshot of a session may be large, and is not shown.
_SHOWN = load_only(
    AgentSession.name,
    AgentSession.inputs,
    AgentSession.version_id,
    AgentSession.created_at,
    AgentSession.updated_at,
    raiseload=True,
)
_ASKED = load_only(SessionTurn.query, SessionTurn.details, raiseload=True)


class DeletesSession(Protocol):
    """Deletes a session of a tenant with all that belongs to it."""

    def __call__(self, tenant_id: str, session_id: str, /) -> None: ...


class NamesSession(Protocol):
    """Returns a name for a conversation that begins with this question. It is called outside of any transaction."""

    def __call__(self, session_id: str, query: str, /) -> str: ...


class ConversationService:
    """Lists, renames and deletes conversations, each only for its own end user.

    Its methods raise DatabaseUnavailable besides the errors they name.
    """

    def __init__(
        self, database: Database, end_users: EndUserService, *, delete: DeletesSession, name: NamesSession
    ) -> None:
        self._database = database
        self._end_users = end_users
        self._delete = delete
        self._name = name
        self._openings = Openings()

    def list_conversations(self, app: App, query: ConversationsQuery) -> Page[dict[str, Any]]:
        """Returns the page after ``last_id``. Raises ItemNotFound when that is not a conversation of the user."""
        end_user_id = self._end_users.find(app, query.user_or_default)
        with self._database.reading() as session:
            last = None
            if query.last_id is not None:
                last = find_conversation(session, app, end_user_id, query.last_id, message=LAST_NOT_FOUND)
            if end_user_id is None:
                return Page([], query.limit, has_more=False)
            rows = _page(session, end_user_id, query, last)
            shown = rows[: query.limit]
            return Page(self._told(session, shown), query.limit, has_more=len(rows) > query.limit)

    def rename_conversation(self, app: App, conversation_id: str, wanted: RenameRequest) -> dict[str, Any]:
        """Gives a conversation this name, or one made from its first question.

        Raises ParameterRefused without either, and ItemNotFound.
        """
        name = None if wanted.auto_generate else wanted.require_name()
        end_user_id = self._end_users.find(app, wanted.user_or_default)
        if name is None:
            name = self._made_name(app, end_user_id, conversation_id)
        with self._database.transaction() as session:
            row = find_conversation(session, app, end_user_id, conversation_id, lock=True)
            row.name = name
            session.flush()
            return self._told(session, [row])[0]

    def delete_conversation(self, app: App, conversation_id: str, *, user: str) -> None:
        """Deletes a conversation. Raises ItemNotFound, and what ``delete`` raises."""
        end_user_id = self._end_users.find(app, user)
        with self._database.reading() as session:
            found = find_conversation(session, app, end_user_id, conversation_id)
        try:
            self._delete(app.tenant_id, found.id)
        except SessionNotFound:  # another request has just deleted it
            raise ItemNotFound(CONVERSATION_NOT_FOUND) from None

    def _made_name(self, app: App, end_user_id: str | None, conversation_id: str) -> str:
        """Returns a name made from the first question, or the present name if there is no question yet."""
        with self._database.reading() as session:
            row = find_conversation(session, app, end_user_id, conversation_id)
            query = _first_query(session, row)
        return row.name if query is None else self._name(row.id, query)

    def _told(self, session: Session, rows: Sequence[AgentSession]) -> list[dict[str, Any]]:
        openings = self._openings.of_versions(session, {row.version_id for row in rows if row.version_id})
        return [_as_json(row, openings.get(row.version_id or "", "")) for row in rows]


def find_conversation(
    session: Session,
    app: App,
    end_user_id: str | None,
    conversation_id: str,
    *,
    lock: bool = False,
    message: str = CONVERSATION_NOT_FOUND,
) -> AgentSession:
    """Returns an end user's conversation with an app.

    ``lock`` keeps others from changing it until the transaction ends. Raises ItemNotFound with ``message``.
    """
    wanted = select(AgentSession).where(AgentSession.id == conversation_id, *is_of(app, end_user_id)).options(_SHOWN)
    if lock:
        wanted = wanted.with_for_update()
    row = session.scalar(wanted) if end_user_id is not None and is_id(conversation_id) else None
    if row is None:
        raise ItemNotFound(message)
    return row


def is_of(app: App, end_user_id: str | None) -> tuple[ColumnElement[bool], ...]:
    """Returns the conditions for sessions that are an end user's conversations with an app."""
    return (
        AgentSession.tenant_id == app.tenant_id,
        AgentSession.agent_id == app.agent_id,
        AgentSession.end_user_id == end_user_id,
        AgentSession.state == SessionState.ACTIVE,
    )


def _page(
    session: Session, end_user_id: str, query: ConversationsQuery, last: AgentSession | None
) -> Sequence[AgentSession]:
    """Returns a page, and one conversation more if there is one."""
    column = AgentSession.created_at if query.sort_by.endswith("created_at") else AgentSession.updated_at
    key = tuple_(column, AgentSession.id)
    is_falling = query.sort_by.startswith("-")
    # An end user belongs to a single app and tenant, so neither is a condition, and the state is an inequality: an
    # index that begins with one of them would have SQLite read all sessions of the tenant.
    wanted = select(AgentSession).where(
        AgentSession.end_user_id == end_user_id, AgentSession.state != SessionState.DELETED
    )
    if last is not None:
        # With an explicit type: otherwise the time would be compared in the time zone of the connection.
        end = tuple_(literal(getattr(last, column.key), column.type), last.id)
        wanted = wanted.where(key < end if is_falling else key > end)
    order = (column.desc(), AgentSession.id.desc()) if is_falling else (column.asc(), AgentSession.id.asc())
    return session.scalars(wanted.options(_SHOWN).order_by(*order).limit(query.limit + 1)).all()


def _first_query(session: Session, row: AgentSession) -> str | None:
    mine = select(SessionTurn).where(SessionTurn.session_id == row.id).options(_ASKED)
    first = session.scalar(mine.order_by(SessionTurn.position).limit(1))
    return query_of(first) if first is not None else None


def _as_json(row: AgentSession, opening: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "inputs": row.inputs,
        "status": "normal",
        "introduction": _introduction(opening, row.inputs),
        "created_at": int(row.created_at.timestamp()),
        "updated_at": int(row.updated_at.timestamp()),
    }


def _introduction(opening: str, inputs: Mapping[str, Any]) -> str:
    """Returns the opening with the inputs filled in, or as it is if the result would be far too long."""
    try:
        return fill_prompt(opening, inputs)
    except FilledTextTooLong:
        return opening
