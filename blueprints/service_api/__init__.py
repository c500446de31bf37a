"""``/v1``: Dify's service API, for apps and their end users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, g, jsonify, request
from pydantic import SecretStr

from blueprints.parsing import BodyLimits, limit_body
from blueprints.service_api.app_info import add_app_info_routes
from blueprints.service_api.chat_messages import SEND_MESSAGE, add_chat_routes
from blueprints.service_api.conversations import add_conversation_routes
from blueprints.service_api.errors import register_service_errors
from blueprints.service_api.forms import add_form_routes
from blueprints.service_api.identity import require_app
from blueprints.service_api.messages import add_message_routes
from runtime.runtime import Runtime
from services.api_keys import ApiKeyService
from services.chat.app_info import AppInfoService
from services.chat.apps import AppService
from services.chat.chat import ChatService
from services.chat.conversations import ConversationService, DeletesSession, NamesSession
from services.chat.end_users import EndUserService
from services.chat.feedback import FeedbackService
from services.chat.messages import FinalizesTurns, MessageService, SuggestQuestions
from services.database import Database
from services.sessions.forms import FormService

WELCOME = {"welcome": "Greenrun", "api_version": "v1"}
OPEN = "show_welcome"


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """What the routes need of the services of sessions."""

    end_users: EndUserService
    chat: ChatService
    finalizer: FinalizesTurns
    delete_session: DeletesSession
    name_session: NamesSession
    forms: FormService
    suggest: SuggestQuestions | None = None
    """None suggests nothing, whatever an agent says."""


def service_api_blueprint(
    runtime: Runtime,
    database: Database,
    keys: ApiKeyService,
    parts: ServiceParts,
    *,
    admin_tokens: Sequence[SecretStr],
    body_limits: BodyLimits,
) -> Blueprint:
    """The routes below ``/v1``, for keys of apps, and for others who name an app."""
    blueprint = Blueprint("service_api", __name__, url_prefix="/v1")
    apps = AppService(database)
    register_service_errors(blueprint)

    @blueprint.before_request
    def admit() -> None:
        if request.endpoint == f"{blueprint.name}.{OPEN}":
            return
        limit_body(request, body_limits)
        is_checked_later = request.endpoint == f"{blueprint.name}.{SEND_MESSAGE}"
        g.app = require_app(request, keys, apps, admin_tokens, is_checked_later=is_checked_later)
        runtime.start()

    @blueprint.get("", strict_slashes=False, endpoint=OPEN)
    def show_welcome() -> Response:
        """What is served here. It needs no key."""
        return jsonify(WELCOME)

    conversations = ConversationService(database, parts.end_users, delete=parts.delete_session, name=parts.name_session)
    messages = MessageService(database, parts.end_users, finalizer=parts.finalizer, suggest=parts.suggest)
    add_app_info_routes(blueprint, AppInfoService(database))
    add_conversation_routes(blueprint, conversations)
    add_chat_routes(blueprint, parts.chat)
    add_message_routes(blueprint, messages, FeedbackService(database, parts.end_users))
    add_form_routes(blueprint, parts.forms)
    return blueprint
