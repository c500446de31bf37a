"""The application: joins the settings, the runtime and the blueprints. Importing it opens nothing."""

from __future__ import annotations

import logging

from flask import Flask

from app_blueprints import register_blueprints
from app_config import database_config, runtime_config
from app_logging import configure_logging
from app_services import make_services
from blueprints.errors import register_error_handlers
from blueprints.request_id import add_request_id
from blueprints.security_headers import add_security_headers
from cli import add_commands
from runtime.runtime import Runtime
from services.database import Database
from settings import Settings

logger = logging.getLogger(__name__)

EXTENSION = "greenrun"


def __getattr__(name: str) -> Flask:
    """Builds ``app:app`` from the environment when gunicorn asks for it, and not when ``init_app`` is imported."""
    if name != "app":
        raise AttributeError(f"module 'app' has no attribute {name!r}")
    globals()[name] = create_app()
    return globals()[name]


def create_app(settings: Settings | None = None) -> Flask:
    """Creates a Flask application that contains only Greenrun and its commands."""
    settings = settings or Settings()
    configure_logging(settings.log_level)
    flask_app = Flask("greenrun", static_folder=None)
    register_error_handlers(flask_app)
    add_security_headers(flask_app)
    add_request_id(flask_app)
    init_app(flask_app, settings)
    add_commands(flask_app.cli, Database(database_config(settings)), settings.key_ring)
    return flask_app


def init_app(flask_app: Flask, settings: Settings) -> Runtime:
    """Mounts Greenrun into a Flask application that runs under gunicorn's gevent worker.

    The runtime is in ``flask_app.extensions["greenrun"]``. It starts with the first request, or when its ``start`` is
    called; ``runtime.gunicorn_worker`` has the hooks that tie its end to that of a gunicorn worker.
    """
    if not settings.api_tokens:
        logger.warning("DIFY_AGENT_API_TOKEN is not set: /runs is open to everybody who can reach this server")
    runtime, database = Runtime(runtime_config(settings)), Database(database_config(settings))
    flask_app.extensions[EXTENSION] = runtime
    register_blueprints(flask_app, settings, make_services(settings, runtime, database))
    return runtime
