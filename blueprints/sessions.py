"""``/sessions``: what agents and compositions remember, and their turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from flask import Blueprint, Response, g, jsonify, request
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from blueprints.errors import register_error_handlers
from blueprints.idempotency import parse_idempotency_key
from blueprints.identity import Caller, require_caller
from blueprints.paging import parse_query
from blueprints.parsing import BodyLimits, limit_body, parse_body
from errors import MalformedRequest
from runtime.protocol import sse
from runtime.protocol.records import RunStatus
from runtime.runtime import Runtime
from services.api_keys import ApiKeyService
from services.chat.chat import ChatService
from services.idempotency import claim_of
from services.sessions.assembly import SessionParts
from services.sessions.locked_session import lock_session
from services.sessions.requests import ChangeSessionRequest, CreateSessionRequest, StartTurnRequest
from services.sessions.turns.types import NewTurn

FOLLOW = "follow_turn"
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


GivenId = Annotated[str, StringConstraints(max_length=36, pattern=r"^[^\x00]*$")]
"""An id as a query names it; no database takes a NUL."""


class CursorQuery(BaseModel):
    """How much of a list to read, and from behind what."""

    after: GivenId | None = None
    limit: int = Field(default=20, ge=1, le=100)


class SessionQuery(CursorQuery):
    """Sessions, of all agents or of one."""

    agent_id: GivenId | None = None


class DeleteQuery(BaseModel):
    """Whether a turn that runs is to be cancelled."""

    cancel: bool = False


def sessions_blueprint(
    runtime: Runtime,
    keys: ApiKeyService,
    parts: SessionParts,
    chat: ChatService,
    *,
    admin_tokens: Sequence[SecretStr],
    body_limits: BodyLimits,
) -> Blueprint:
    """The routes below ``/sessions``, for the operator and for keys of a workspace."""
    blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")
    sessions, turns = parts.sessions, parts.turns
    register_error_handlers(blueprint, malformed=MalformedRequest)

    @blueprint.before_request
    def admit() -> None:
        limit_body(request, body_limits)
        follows = request.endpoint == f"{blueprint.name}.{FOLLOW}"
        g.caller = require_caller(request, keys, admin_tokens, allow_app=follows)
        runtime.start()

    @blueprint.post("")
    def create_session() -> tuple[Response, int]:
        """Make a session, with an agent or with a composition."""
        caller, wanted = _caller(), parse_body(request, CreateSessionRequest)
        key = parse_idempotency_key(request, None)
        claim = claim_of(wanted, key, scope=json.dumps(["session", caller.tenant_id]))
        made = sessions.create_session(caller.tenant_id, wanted, created_by=caller.actor, claim=claim)
        return jsonify(made.body), 201

    @blueprint.get("")
    def list_sessions() -> Response:
        """Sessions, the newest first."""
        query = parse_query(request, SessionQuery)
        page = sessions.list_sessions(
            _caller().tenant_id, after=query.after, limit=query.limit, agent_id=query.agent_id
        )
        return jsonify(page.as_json())

    @blueprint.get("/<session_id>")
    def get_session(session_id: str) -> Response:
        """A session with what it remembers."""
        return jsonify(sessions.get_session(_caller().tenant_id, session_id))

    @blueprint.patch("/<session_id>")
    def change_session(session_id: str) -> Response:
        """Change a session's name, metadata or version."""
        wanted = parse_body(request, ChangeSessionRequest)
        return jsonify(sessions.change_session(_caller().tenant_id, session_id, wanted).body)

    @blueprint.delete("/<session_id>")
    def delete_session(session_id: str) -> tuple[str, int]:
        """Delete a session with all its turns."""
        cancel = parse_query(request, DeleteQuery).cancel
        sessions.delete_session(_caller().tenant_id, session_id, cancel=cancel)
        return "", 204

    @blueprint.post("/<session_id>/runs")
    def start_turn(session_id: str) -> tuple[Response, int]:
        """Start a turn of a session, or put it in line."""
        caller, wanted = _caller(), parse_body(request, StartTurnRequest)
        key = parse_idempotency_key(request, wanted.idempotency_key)
        claim = claim_of(wanted, key, scope=json.dumps(["turn", caller.tenant_id, session_id]))

        find = partial(lock_session, tenant_id=caller.tenant_id, session_id=session_id)
        turn = NewTurn(
            wanted.query,
            wanted.inputs,
            multitask_strategy=wanted.multitask_strategy,
            version_id=wanted.version_id,
            metadata=wanted.metadata,
            user_id=caller.actor,
            claim=claim,
        )
        started = turns.start_turn(find, turn)
        return jsonify(
            run_id=started.key.run_id,
            status=RunStatus.RUNNING,
            session_id=session_id,
            turn_id=started.key.turn_id,
            position=started.ahead,
        ), 202

    @blueprint.get("/<session_id>/turns")
    def list_turns(session_id: str) -> Response:
        """Turns of a session, the first one first."""
        query = parse_query(request, CursorQuery)
        page = sessions.list_turns(_caller().tenant_id, session_id, after=query.after, limit=query.limit)
        return jsonify(page.as_json())

    @blueprint.get("/<session_id>/turns/<turn_id>")
    def get_turn(session_id: str, turn_id: str) -> Response:
        """A turn with what came of it."""
        return jsonify(sessions.get_turn(_caller().tenant_id, session_id, turn_id).body)

    @blueprint.get("/<session_id>/turns/<turn_id>/chat-events", endpoint=FOLLOW)
    def follow_turn(session_id: str, turn_id: str) -> Response:
        """A turn from its beginning as the frames of a chat, also for the key of the session's app."""
        caller = _caller()
        turn = chat.find_turn(caller.tenant_id, session_id, turn_id, agent_id=caller.agent_id)
        frames = chat.follow(caller.tenant_id, turn)
        return Response(frames, content_type=sse.CONTENT_TYPE, headers=STREAM_HEADERS, direct_passthrough=True)

    return blueprint


def _caller() -> Caller:
    caller: Caller = g.caller
    return caller
