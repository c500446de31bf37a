"""``/v1/chat-messages``: messages to an app, and its answers as they are generated."""

from __future__ import annotations

from contextlib import nullcontext

from flask import Blueprint, Response, jsonify, request

from blueprints.callers import current_app
from blueprints.service_api.bodies import parse_service_body
from blueprints.service_api.errors import render_failure
from blueprints.streams import stream_response
from services.chat.apps import App
from services.chat.chat import ChatService
from services.chat.chat_requests import ChatMessageRequest
from services.chat.frames import blocking_body
from services.chat.requests import OfUser
from services.open_streams import OpenStreams

SEND_MESSAGE = "send_message"


def add_chat_routes(blueprint: Blueprint, chat: ChatService, streams: OpenStreams) -> None:
    @blueprint.post("/chat-messages", endpoint=SEND_MESSAGE)
    def send_message() -> Response:
        """Sends a message; the answer is streamed, or returned as a whole."""
        app, wanted = current_app(), parse_service_body(request, ChatMessageRequest)
        if wanted.response_mode == "streaming":
            return _stream(app, wanted)
        turn = chat.start(app, wanted)
        result = chat.wait(app.tenant_id, turn)
        if result.error is not None:
            return render_failure(result.error)
        return jsonify(blocking_body(turn, result.answer, result.usage, result.form))

    @blueprint.post("/chat-messages/<task_id>/stop")
    def stop_message(task_id: str) -> Response:
        """Stops an answer."""
        user = parse_service_body(request, OfUser).require_user()
        chat.stop(current_app(), task_id, user=user)
        return jsonify(result="success")

    def _stream(app: App, wanted: ChatMessageRequest) -> Response:
        with streams.open(app.tenant_id) or nullcontext() as stream:  # before the turn, which is not to run unread
            return stream_response(chat.answer(app.tenant_id, chat.start(app, wanted)), stream)
