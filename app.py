"""The application: joins the settings, the runtime and the blueprints. Importing it opens nothing."""

from __future__ import annotations

import logging

from flask import Flask

from app_config import runtime_config
from app_logging import configure_logging
from blueprints.errors import register_error_handlers
from blueprints.feed import feed_blueprint
from blueprints.health import health_blueprint
from blueprints.parsing import BodyLimits
from blueprints.rate_limit import limit_requests
from blueprints.runs import runs_blueprint
from blueprints.security_headers import add_security_headers
from blueprints.slashes import refuse_double_slashes
from blueprints.structured_output import structured_output_blueprint
from runtime.runtime import Runtime
from services.rate_limiter import RateLimiter
from services.stream_tokens import StreamTokens
from settings import Settings

logger = logging.getLogger(__name__)

EXTENSION = "greenrun"


def __getattr__(name: str) -> Flask:
    """``app:app``, built from the environment when gunicorn asks for it and not when ``init_app`` is imported."""
    if name != "app":
        raise AttributeError(f"module 'app' has no attribute {name!r}")
    globals()[name] = create_app()
    return globals()[name]


def create_app(settings: Settings | None = None) -> Flask:
    """A Flask application with Greenrun alone in it."""
    settings = settings or Settings()
    configure_logging(settings.log_level)
    flask_app = Flask("greenrun", static_folder=None)
    register_error_handlers(flask_app)
    add_security_headers(flask_app)
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
    limits = BodyLimits(settings.max_request_bytes, settings.max_json_values, settings.body_timeout_seconds)
    stream_tokens, origins = StreamTokens(settings.key_ring), settings.allowed_origins
    runs = runs_blueprint(runtime, tokens=tokens, stream_tokens=stream_tokens, origins=origins, body_limits=limits)
    feed = feed_blueprint(
        runtime,
        tokens=settings.admin_tokens,
        stream_tokens=stream_tokens,
        origins=origins,
        body_limits=limits,
        max_subscriptions=settings.max_subscriptions,
    )
    structured_output = structured_output_blueprint(tokens=settings.admin_tokens, body_limits=limits)
    limiter = RateLimiter(rate=settings.requests_a_second, burst=settings.requests_at_once)
    limit_requests(runs, limiter, tokens)
    for blueprint in (feed, structured_output):
        limit_requests(blueprint, limiter, settings.admin_tokens)
    for blueprint in (health_blueprint(runtime), runs, feed, structured_output):
        refuse_double_slashes(blueprint)
        add_security_headers(blueprint)
        flask_app.register_blueprint(blueprint)
    return runtime
