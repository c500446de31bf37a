"""Every blueprint with the services that it needs, and with its access rules."""

from __future__ import annotations

from functools import partial

from flask import Flask

from blueprints.agent_versions import agent_versions_blueprint
from blueprints.agents import agents_blueprint
from blueprints.callers import Callers
from blueprints.composer import composer_blueprint
from blueprints.credentials import credentials_blueprint
from blueprints.errors import register_error_handlers
from blueprints.feed import feed_blueprint
from blueprints.health import health_blueprint
from blueprints.keys import keys_blueprint
from blueprints.parsing import BodyLimits
from blueprints.registration import Registration, RequestRules, register
from blueprints.runs import runs_blueprint
from blueprints.service_api import caller_of_service_api, service_api_blueprint
from blueprints.service_api.errors import register_service_errors
from blueprints.sessions import caller_of_sessions, sessions_blueprint
from blueprints.structured_output import structured_output_blueprint
from services.assembly import Services
from settings import Settings


def register_blueprints(app: Flask, settings: Settings, services: Services) -> None:
    """Registers all blueprints of one application."""
    rules = RequestRules(
        body_limits=BodyLimits(
            bytes=settings.max_request_bytes,
            values=settings.max_json_values,
            seconds=settings.body_timeout_seconds,
            input_bytes=settings.max_input_bytes,
        ),
        hosts=settings.allowed_host_names,
        origins=settings.allowed_origins,
        limiter=services.limiter,
    )
    for one in _registrations(settings, services):
        register(app, one, rules)


def _registrations(settings: Settings, services: Services) -> list[Registration]:
    admin, origins = settings.admin_tokens, settings.allowed_origins
    callers = Callers(services.keys, services.apps, services.stream_tokens, settings.api_tokens, admin)
    runs = Registration(
        blueprint=runs_blueprint(services.runs, services.streams, services.stream_tokens, origins=origins),
        caller=callers.of_runs,
        tokens=[*settings.api_tokens, *admin],
        browser_methods=("GET", "POST"),
        add_errors=register_error_handlers,
    )
    feed = Registration(
        blueprint=feed_blueprint(services.feed, services.streams, services.stream_tokens, origins=origins),
        caller=callers.of_feed,
        tokens=admin,
        browser_methods=("GET", "POST"),
    )
    sessions = Registration(
        blueprint=sessions_blueprint(services.sessions, services.chat, services.streams),
        caller=partial(caller_of_sessions, callers),
        tokens=admin,
        browser_methods=("GET", "POST", "PATCH", "DELETE"),
    )
    service_api = Registration(
        blueprint=service_api_blueprint(
            services.app_info,
            services.chat,
            services.conversations,
            services.messages,
            services.feedback,
            services.forms,
            services.streams,
        ),
        caller=partial(caller_of_service_api, callers),
        tokens=admin,
        browser_methods=("GET", "POST", "DELETE"),
        add_errors=register_service_errors,
    )
    of_workspaces = [
        structured_output_blueprint(),
        keys_blueprint(services.keys),
        agents_blueprint(services.agents, services.transfer, services.agent_runs),
        agent_versions_blueprint(services.versions, services.tags, services.transfer),
        credentials_blueprint(services.credentials),
        composer_blueprint(services.composer),
    ]
    return [
        Registration(blueprint=health_blueprint(services.health), caller=None),
        runs,
        feed,
        sessions,
        service_api,
        *(Registration(blueprint=one, caller=callers.of_workspace, tokens=admin) for one in of_workspaces),
    ]
