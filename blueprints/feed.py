"""``/events``: the dashboard's feed of all runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flask import Blueprint, Response, jsonify, request
from pydantic import SecretStr

from blueprints.auth import STREAM_TOKEN, require_key
from blueprints.cors import allow_origins, require_known_origin
from blueprints.errors import register_error_handlers
from blueprints.feed_socket import feed_response
from blueprints.parsing import BodyLimits, limit_body, parse_optional_body
from blueprints.slashes import redirect_trailing_slashes
from blueprints.upgrade import SocketResponse, require_upgrade
from errors import MalformedRequest
from runtime.protocol.clock import wire_time
from runtime.protocol.requests import CreateStreamTokenRequest
from runtime.runtime import Runtime
from services.feed import FeedService
from services.stream_tokens import FEED, StreamTokens


def feed_blueprint(
    runtime: Runtime,
    *,
    tokens: Sequence[SecretStr],
    stream_tokens: StreamTokens,
    origins: Collection[str],
    body_limits: BodyLimits,
    max_subscriptions: int,
) -> Blueprint:
    """The routes below ``/events``, closed to everybody when there are neither tokens nor stream tokens."""
    blueprint = Blueprint("feed", __name__, url_prefix="/events")
    feed = FeedService(runtime)
    register_error_handlers(blueprint, malformed=MalformedRequest)

    @blueprint.before_request
    def admit() -> None:
        limit_body(request, body_limits)
        if _has_stream_token():
            stream_tokens.check(request.args[STREAM_TOKEN], subject=FEED)
        else:
            require_key(request, tokens)
        runtime.start()

    @blueprint.post("/stream-tokens")
    def create_feed_token() -> tuple[Response, int]:
        """Make a token that opens the feed to a reader."""
        wanted = parse_optional_body(request, CreateStreamTokenRequest)
        made = stream_tokens.issue(FEED, ttl_seconds=wanted.ttl_seconds)
        return jsonify(token=made.token, expires_at=wire_time(made.expires_at)), 201

    # Two rules: werkzeug gives handshakes only to the first, and what is none, and has to be told so, to the second.
    @blueprint.get("/ws", websocket=True)
    @blueprint.get("/ws")
    def follow_runs() -> SocketResponse:
        """Follow many runs, and the list of them, over a WebSocket."""
        if not _has_stream_token():
            require_known_origin(request, origins)
        return feed_response(request, require_upgrade(request), feed, max_subscriptions=max_subscriptions)

    redirect_trailing_slashes(blueprint, {"/stream-tokens": "POST", "/ws": "GET"})
    allow_origins(blueprint, origins)
    return blueprint


def _has_stream_token() -> bool:
    """Such a request is judged by its token alone. Nothing but a GET can have one."""
    return request.method in ("GET", "HEAD") and STREAM_TOKEN in request.args
