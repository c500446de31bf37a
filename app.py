"""The application: joins the settings, the runtime and the blueprints. Importing it opens nothing."""

from __future__ import annotations

import logging

from flask import Flask

from blueprints.errors import register_error_handlers
from blueprints.health import health_blueprint
from blueprints.runs import runs_blueprint
from blueprints.structured_output import structured_output_blueprint
from runtime.config import DefaultModelConfig, OperatorRules, PluginDaemonConfig, RunLimits, RuntimeConfig
from runtime.protocol.dialects import Dialect
from runtime.runtime import Runtime
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
    flask_app.register_blueprint(runs_blueprint(runtime, tokens=tokens, max_request_bytes=most))
    flask_app.register_blueprint(structured_output_blueprint(tokens=settings.admin_tokens, max_request_bytes=most))
    return runtime


def runtime_config(settings: Settings) -> RuntimeConfig:
    """The settings as the plain values that the runtime takes."""
    default = settings.default_llm
    return RuntimeConfig(
        redis_url=settings.redis_url,
        redis_prefix=settings.redis_prefix,
        run_retention_seconds=settings.run_retention_seconds,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
        max_active_runs=settings.max_active_runs,
        max_run_event_bytes=settings.max_run_event_bytes,
        limits=RunLimits(
            model_requests=settings.max_model_requests,
            seconds=settings.run_timeout_seconds or None,
            tool_argument_bytes=settings.max_tool_argument_bytes,
            tool_result_bytes=settings.max_tool_result_bytes,
        ),
        event_loop=settings.event_loop,
        dialect=None if settings.wire_dialect == "auto" else Dialect(settings.wire_dialect),
        plugin_daemon=PluginDaemonConfig(
            base_url=settings.plugin_daemon_url,
            api_key=settings.plugin_daemon_api_key,
            connect_timeout=settings.plugin_daemon_connect_timeout,
            read_timeout=settings.plugin_daemon_read_timeout,
            write_timeout=settings.plugin_daemon_write_timeout,
            pool_timeout=settings.explicit_pool_timeout,
            max_connections=settings.plugin_daemon_max_connections,
            max_keepalive_connections=settings.plugin_daemon_max_keepalive_connections,
            keepalive_expiry=settings.plugin_daemon_keepalive_expiry,
            merges_text=settings.delta_merging == "adaptive",
        ),
        rules=OperatorRules(
            allowed_providers=settings.allowed_provider_names,
            allow_private_urls=settings.allow_private_urls,
            mcp_commands=settings.mcp_commands or {},
        ),
        default_model=DefaultModelConfig(default.type, default.config) if default is not None else None,
    )
