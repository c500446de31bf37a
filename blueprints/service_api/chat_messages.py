"""``/v1/chat-messages``: messages to an app, and its answers as they are generated."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from blueprints.callers import current_app
from blueprints.service_api.bodies import parse_service_body
from blueprints.service_api.errors import render_failure
from blueprints.streams import stream_response
from services.chat.chat import ChatService
from services.chat.chat_requests import ChatMessageRequest
from services.chat.frames import ChatTurn, blocking_body
from services.chat.requests import OfUser

SEND_MESSAGE = "send_message"


def add_chat_routes(blueprint: Blueprint, chat: ChatService) -> None:
    @blueprint.post("/chat-messages", endpoint=SEND_MESSAGE)
    def send_message() -> Response:
        """Sends a message; the answer is streamed, or returned as a whole."""
        app, wanted = current_app(), parse_service_body(request, ChatMessageRequest)
        turn = chat.start(app, wanted)
        if wanted.response_mode == "streaming":
            return _stream(turn)
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

    def _stream(turn: ChatTurn) -> Response:
        return stream_response(chat.answer(current_app().tenant_id, turn))
