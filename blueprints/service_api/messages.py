"""``/v1/messages``: the messages of a conversation, their ratings, and suggestions for the next question."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from blueprints.callers import current_app
from blueprints.paging import parse_query
from blueprints.service_api.bodies import parse_service_body
from services.chat.feedback import FeedbackService
from services.chat.messages import MessageService
from services.chat.requests import FeedbackRequest, MessagesQuery, OfUser

SUCCESS = "success"


def add_message_routes(blueprint: Blueprint, messages: MessageService, feedback: FeedbackService) -> None:
    @blueprint.get("/messages")
    def list_messages() -> Response:
        """Lists a page of a conversation, the newest message first."""
        query = parse_query(request, MessagesQuery)
        return jsonify(messages.list_messages(current_app(), query).as_json())

    @blueprint.post("/messages/<message_id>/feedbacks")
    def rate_message(message_id: str) -> Response:
        """Rates a message for the user."""
        wanted = parse_service_body(request, FeedbackRequest)
        feedback.rate_message(current_app(), message_id, wanted)
        return jsonify(result=SUCCESS)

    @blueprint.get("/messages/<message_id>/suggested")
    def suggest_questions(message_id: str) -> Response:
        """Suggests questions that the user may ask next."""
        user = parse_query(request, OfUser).require_user()
        return jsonify(result=SUCCESS, data=messages.suggest_questions(current_app(), message_id, user=user))
