"""``/sessions``: what agents and compositions remember, and their turns."""

from __future__ import annotations

from flask import Blueprint, Request, Response, jsonify, request
from pydantic import BaseModel

from blueprints.callers import Caller, Callers, current_caller
from blueprints.idempotency import parse_idempotency_key
from blueprints.paging import CursorQuery, GivenId, parse_query
from blueprints.parsing import parse_body
from blueprints.streams import stream_response
from runtime.protocol.records import RunStatus
from services.chat.chat import ChatService
from services.open_streams import OpenStreams
from services.sessions.requests import ChangeSessionRequest, CreateSessionRequest, StartTurnRequest
from services.sessions.sessions import SessionService

NAME = "sessions"
FOLLOW = "follow_turn"


class SessionQuery(CursorQuery):
    """A page of sessions, of all agents or of one."""

    agent_id: GivenId | None = None


class DeleteQuery(BaseModel):
    """Whether a running turn is to be cancelled."""

    cancel: bool = False


def sessions_blueprint(sessions: SessionService, chat: ChatService, streams: OpenStreams) -> Blueprint:
    """The routes below ``/sessions``, for the operator and for keys of a workspace."""
    blueprint = Blueprint(NAME, __name__, url_prefix="/sessions")

    @blueprint.post("")
    def create_session() -> tuple[Response, int]:
        """Creates a session, with an agent or with a composition."""
        caller, wanted = current_caller(), parse_body(request, CreateSessionRequest)
        key = parse_idempotency_key(request)
        made = sessions.create_session(caller.tenant_id, wanted, created_by=caller.actor, idempotency_key=key)
        return jsonify(made), 201

    @blueprint.get("")
    def list_sessions() -> Response:
        """Lists sessions, the newest first."""
        query = parse_query(request, SessionQuery)
        page = sessions.list_sessions(
            current_caller().tenant_id, after=query.after, limit=query.limit, agent_id=query.agent_id
        )
        return jsonify(page.as_json())

    @blueprint.get("/<session_id>")
    def get_session(session_id: str) -> Response:
        """Returns a session with what it remembers."""
        return jsonify(sessions.get_session(current_caller().tenant_id, session_id))

    @blueprint.patch("/<session_id>")
    def change_session(session_id: str) -> Response:
        """Changes a session's name, metadata or version."""
        wanted = parse_body(request, ChangeSessionRequest)
        return jsonify(sessions.change_session(current_caller().tenant_id, session_id, wanted))

    @blueprint.delete("/<session_id>")
    def delete_session(session_id: str) -> tuple[str, int]:
        """Deletes a session with all its turns."""
        cancel = parse_query(request, DeleteQuery).cancel
        sessions.delete_session(current_caller().tenant_id, session_id, cancel=cancel)
        return "", 204

    @blueprint.post("/<session_id>/runs")
    def start_turn(session_id: str) -> tuple[Response, int]:
        """Starts a turn of a session, or puts it in line."""
        caller, wanted = current_caller(), parse_body(request, StartTurnRequest)
        key = parse_idempotency_key(request, wanted.idempotency_key)
        started = sessions.start_turn(caller.tenant_id, session_id, wanted, user_id=caller.actor, idempotency_key=key)
        return jsonify(
            run_id=started.key.run_id,
            status=RunStatus.RUNNING,
            session_id=session_id,
            turn_id=started.key.turn_id,
            position=started.ahead,
        ), 202

    @blueprint.get("/<session_id>/turns")
    def list_turns(session_id: str) -> Response:
        """Lists the turns of a session, the oldest first."""
        query = parse_query(request, CursorQuery)
        page = sessions.list_turns(current_caller().tenant_id, session_id, after=query.after, limit=query.limit)
        return jsonify(page.as_json())

    @blueprint.get("/<session_id>/turns/<turn_id>")
    def get_turn(session_id: str, turn_id: str) -> Response:
        """Returns a turn with its outcome."""
        return jsonify(sessions.get_turn(current_caller().tenant_id, session_id, turn_id))

    @blueprint.get("/<session_id>/turns/<turn_id>/chat-events", endpoint=FOLLOW)
    def follow_turn(session_id: str, turn_id: str) -> Response:
        """Streams a turn from its beginning as the frames of a chat. The key of the session's app is accepted too."""
        caller = current_caller()
        turn = chat.find_turn(caller.tenant_id, session_id, turn_id, agent_id=caller.agent_id)
        return stream_response(chat.follow(caller.tenant_id, turn), streams.open(caller.tenant_id))

    return blueprint


def caller_of_sessions(callers: Callers, request: Request) -> Caller:
    """Returns the caller. An app may follow turns, and nothing else."""
    follows = request.endpoint == f"{NAME}.{FOLLOW}"
    return callers.of_workspace_or_app(request) if follows else callers.of_workspace(request)
