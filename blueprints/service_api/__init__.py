"""``/v1``: Dify's service API, for apps and their end users."""

from __future__ import annotations

from flask import Blueprint, Request, Response, jsonify

from blueprints.callers import Callers
from blueprints.service_api.app_info import add_app_info_routes
from blueprints.service_api.chat_messages import SEND_MESSAGE, add_chat_routes
from blueprints.service_api.conversations import add_conversation_routes
from blueprints.service_api.forms import add_form_routes
from blueprints.service_api.messages import add_message_routes
from services.chat.app_info import AppInfoService
from services.chat.apps import App
from services.chat.chat import ChatService
from services.chat.conversations import ConversationService
from services.chat.feedback import FeedbackService
from services.chat.messages import MessageService
from services.open_streams import OpenStreams
from services.sessions.forms import FormService

WELCOME = {"welcome": "Greenrun", "api_version": "v1"}
NAME = "service_api"
OPEN = "show_welcome"


def service_api_blueprint(
    app_info: AppInfoService,
    chat: ChatService,
    conversations: ConversationService,
    messages: MessageService,
    feedback: FeedbackService,
    forms: FormService,
    streams: OpenStreams,
) -> Blueprint:
    """Returns the routes below ``/v1``, for keys of apps, and for other callers who name an app."""
    blueprint = Blueprint(NAME, __name__, url_prefix="/v1")

    @blueprint.get("", strict_slashes=False, endpoint=OPEN)
    def show_welcome() -> Response:
        """Says what is served here. It needs no key."""
        return jsonify(WELCOME)

    add_app_info_routes(blueprint, app_info)
    add_conversation_routes(blueprint, conversations)
    add_chat_routes(blueprint, chat, streams)
    add_message_routes(blueprint, messages, feedback)
    add_form_routes(blueprint, forms)
    return blueprint


def caller_of_service_api(callers: Callers, request: Request) -> App | None:
    """Returns the app that a request is for; None where no key is needed."""
    if request.endpoint == f"{NAME}.{OPEN}":
        return None
    return callers.of_app(request, is_checked_later=request.endpoint == f"{NAME}.{SEND_MESSAGE}")
