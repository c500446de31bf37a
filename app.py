"""The application: joins the settings, the runtime and the blueprints. Importing it opens nothing."""

from __future__ import annotations

import logging

from flask import Flask

from app_config import runtime_config
from blueprints.errors import register_error_handlers
from blueprints.health import health_blueprint
from blueprints.runs import runs_blueprint
from blueprints.structured_output import structured_output_blueprint
from runtime.runtime import Runtime
from services.stream_tokens import StreamTokens
from settings import Settings

logger = logging.getLogger(__name__)

EXTENSION = "greenrun"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def __getattr__(name: str) -> Flask:
    """``app:app``, built from the environment when gunicorn asks for it and not when ``init_app`` is imported."""
    if name != "app":
        raise AttributeError(f"module 'app' has no attribute {name!r}")
    globals()[name] = create_app()
    return globals()[name]


def create_app(settings: Settings | None = None) -> Flask:
    """A Flask application with Greenrun alone in it."""
    settings = settings or Settings()
    logging.basicConfig(level=settings.log_level, format=LOG_FORMAT)
    for name in ("httpx2", "httpcore2", "httpx", "httpcore", "openai", "anthropic", "google_genai"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they have lines, and headers, of every model call
    for name in ("mcp", "client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the MCP SDK logs what servers send when it is malformed
    flask_app = Flask("greenrun", static_folder=None)
    register_error_handlers(flask_app)
    init_app(flask_app, settings)
    return flask_app


def init_app(flask_app: Flask, settings: Settings) -> Runtime:
    """Mount Greenrun into a Flask application that runs under gunicorn's gevent worker.

    The runtime is in ``flask_app.extensions["greenrun"]``. It starts with the first request, or when its ``start`` is
    called; ``runtime.gunicorn_worker`` has the hooks that join its end to that of a gunicorn worker.
    """
    tokens = settings.api_tokens
    if not tokens:
        logger.warning("DIFY_AGENT_API_TOKEN is not set: /runs is open to everybody who can reach this server")
    runtime = Runtime(runtime_config(settings))
    flask_app.extensions[EXTENSION] = runtime
    flask_app.register_blueprint(health_blueprint(runtime))
    most = settings.max_request_bytes
    flask_app.register_blueprint(
        runs_blueprint(
            runtime,
            tokens=tokens,
            stream_tokens=StreamTokens(settings.key_ring),
            origins=settings.allowed_origins,
            max_request_bytes=most,
        )
    )
    flask_app.register_blueprint(structured_output_blueprint(tokens=settings.admin_tokens, max_request_bytes=most))
    return runtime
