"""``/v1/conversations``: the conversations of an end user."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from blueprints.callers import current_app
from blueprints.paging import parse_query
from blueprints.service_api.bodies import parse_optional_service_body, parse_service_body
from services.chat.conversations import ConversationService
from services.chat.requests import ConversationsQuery, OfUser, RenameRequest


def add_conversation_routes(blueprint: Blueprint, conversations: ConversationService) -> None:
    @blueprint.get("/conversations")
    def list_conversations() -> Response:
        """Lists a page of the user's conversations."""
        query = parse_query(request, ConversationsQuery)
        return jsonify(conversations.list_conversations(current_app(), query).as_json())

    @blueprint.post("/conversations/<conversation_id>/name")
    def rename_conversation(conversation_id: str) -> Response:
        """Renames a conversation."""
        wanted = parse_service_body(request, RenameRequest)
        return jsonify(conversations.rename_conversation(current_app(), conversation_id, wanted))

    @blueprint.delete("/conversations/<conversation_id>")
    def delete_conversation(conversation_id: str) -> tuple[str, int]:
        """Deletes a conversation."""
        user = parse_optional_service_body(request, OfUser).user_or_default
        conversations.delete_conversation(current_app(), conversation_id, user=user)
        return "", 204
