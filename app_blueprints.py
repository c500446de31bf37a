"""Every blueprint, each given what it needs of the settings and of what lives as long as the process."""

from __future__ import annotations

from functools import partial

from flask import Blueprint

from blueprints.agent_versions import agent_versions_blueprint
from blueprints.agents import agents_blueprint
from blueprints.composer import composer_blueprint
from blueprints.cors import allow_origins
from blueprints.credentials import credentials_blueprint
from blueprints.feed import feed_blueprint
from blueprints.health import health_blueprint
from blueprints.hosts import require_known_host
from blueprints.keys import keys_blueprint
from blueprints.parsing import BodyLimits
from blueprints.rate_limit import limit_requests
from blueprints.request_id import add_request_id
from blueprints.runs import runs_blueprint
from blueprints.security_headers import add_security_headers
from blueprints.service_api import ServiceParts, service_api_blueprint
from blueprints.sessions import sessions_blueprint
from blueprints.slashes import refuse_double_slashes
from blueprints.structured_output import structured_output_blueprint
from runtime.runtime import Runtime
from services.api_keys import ApiKeyService
from services.chat.assembly import ChatParts
from services.chat.chat import ChatRules
from services.composer.service import ComposerService
from services.credentials import CredentialService
from services.database import Database
from services.rate_limiter import RateLimiter
from services.run_kinds import register_run_kinds
from services.sessions.assembly import SessionParts, SessionRules
from services.stream_tokens import StreamTokens
from settings import Settings


def make_blueprints(settings: Settings, runtime: Runtime, database: Database) -> list[Blueprint]:
    """All blueprints of one application, ready to be registered."""
    limits = BodyLimits(settings.max_request_bytes, settings.max_json_values, settings.body_timeout_seconds)
    tokens, admin_tokens = settings.api_tokens, settings.admin_tokens
    stream_tokens, origins = StreamTokens(settings.key_ring), settings.allowed_origins
    keys = ApiKeyService(database)
    credentials = CredentialService(database, settings.key_ring)
    runs = runs_blueprint(
        runtime,
        keys,
        tokens=tokens,
        admin_tokens=admin_tokens,
        stream_tokens=stream_tokens,
        origins=origins,
        body_limits=limits,
    )
    feed = feed_blueprint(
        runtime,
        keys,
        admin_tokens=admin_tokens,
        stream_tokens=stream_tokens,
        origins=origins,
        body_limits=limits,
        max_subscriptions=settings.max_subscriptions,
    )
    cancels_forms = settings.human_input_conflict == "cancel"
    rules = SessionRules(form_seconds=settings.human_input_seconds, cancels_forms=cancels_forms)
    sessions = SessionParts.make(database, runtime, credentials, settings.key_ring, rules)
    register_run_kinds(runtime, sessions)
    runtime.at_start(sessions.sweeper.start)
    runtime.at_close(sessions.sweeper.close)
    runtime.at_close(sessions.pending.close)
    chat_rules = ChatRules(
        is_strict=settings.service_api_strict,
        stops_unread=settings.stop_unread_chats,
        names_by_model=settings.conversation_names == "model",
    )
    chats = ChatParts.make(database, runtime, credentials, sessions, chat_rules)
    service_parts = ServiceParts(
        chats.end_users,
        chats.chat,
        finalizer=sessions.finalizer,
        delete_session=partial(sessions.sessions.delete_session, cancel=True),
        name_session=chats.namer.name_now,
        forms=sessions.forms,
        suggest=chats.suggestions.of_turn,
    )
    session_routes = sessions_blueprint(
        runtime, keys, sessions, chats.chat, admin_tokens=admin_tokens, body_limits=limits
    )
    allow_origins(session_routes, origins, methods=("GET", "POST", "PATCH", "DELETE"))
    service_routes = service_api_blueprint(
        runtime, database, keys, service_parts, admin_tokens=admin_tokens, body_limits=limits
    )
    allow_origins(service_routes, origins, methods=("GET", "POST", "DELETE"))
    others = [
        feed,
        session_routes,
        service_routes,
        structured_output_blueprint(keys, admin_tokens=admin_tokens, body_limits=limits),
        keys_blueprint(keys, admin_tokens=admin_tokens, body_limits=limits),
        agents_blueprint(runtime, database, credentials, keys, admin_tokens=admin_tokens, body_limits=limits),
        agent_versions_blueprint(database, keys, admin_tokens=admin_tokens, body_limits=limits),
        credentials_blueprint(credentials, keys, admin_tokens=admin_tokens, body_limits=limits),
        composer_blueprint(ComposerService(database), keys, admin_tokens=admin_tokens, body_limits=limits),
    ]
    limiter = RateLimiter(rate=settings.requests_a_second, burst=settings.requests_at_once)
    limit_requests(runs, limiter, [*tokens, *admin_tokens])
    for blueprint in others:
        limit_requests(blueprint, limiter, admin_tokens)
    health = health_blueprint(runtime, database)
    blueprints = [health, runs, *others]
    for blueprint in blueprints:
        if blueprint is not health:  # probes call a server by its address, and learn nothing
            require_known_host(blueprint, settings.allowed_host_names)
        refuse_double_slashes(blueprint)
        add_security_headers(blueprint)
        add_request_id(blueprint)
    return blueprints
