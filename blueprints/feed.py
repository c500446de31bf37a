"""``/events``: the dashboard's feed of all runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flask import Blueprint, Request, Response, g, jsonify, request
from pydantic import SecretStr

from blueprints.auth import STREAM_TOKEN
from blueprints.cors import allow_origins, require_known_origin
from blueprints.errors import register_error_handlers
from blueprints.feed_socket import feed_response
from blueprints.identity import CallerKind, require_caller
from blueprints.parsing import BodyLimits, limit_body, parse_optional_body
from blueprints.slashes import redirect_trailing_slashes
from blueprints.upgrade import SocketResponse, require_upgrade
from errors import MalformedRequest
from runtime.protocol.clock import wire_time
from runtime.protocol.requests import CreateStreamTokenRequest
from runtime.runtime import Runtime
from services.api_keys import ApiKeyService
from services.feed import FeedService
from services.run_access import EVERY_RUN, RunAccess
from services.stream_tokens import StreamTokens, feed_of


def feed_blueprint(
    runtime: Runtime,
    keys: ApiKeyService,
    *,
    admin_tokens: Sequence[SecretStr],
    stream_tokens: StreamTokens,
    origins: Collection[str],
    body_limits: BodyLimits,
    max_subscriptions: int,
) -> Blueprint:
    """The routes below ``/events``, for the operator, keys of a workspace, and readers with a stream token."""
    blueprint = Blueprint("feed", __name__, url_prefix="/events")
    feed = FeedService(runtime)
    register_error_handlers(blueprint, malformed=MalformedRequest)

    @blueprint.before_request
    def admit() -> None:
        limit_body(request, body_limits)
        if _has_stream_token():
            g.tenant_id = stream_tokens.check_feed(request.args[STREAM_TOKEN])
        else:
            g.tenant_id = _tenant_of_key(request, keys, admin_tokens)
        runtime.start()

    @blueprint.post("/stream-tokens")
    def create_feed_token() -> tuple[Response, int]:
        """Make a token that opens the feed to a reader."""
        wanted = parse_optional_body(request, CreateStreamTokenRequest)
        made = stream_tokens.issue(feed_of(g.tenant_id), ttl_seconds=wanted.ttl_seconds)
        return jsonify(token=made.token, expires_at=wire_time(made.expires_at)), 201

    # Two rules: werkzeug gives handshakes only to the first, and what is none, and has to be told so, to the second.
    @blueprint.get("/ws", websocket=True)
    @blueprint.get("/ws")
    def follow_runs() -> SocketResponse:
        """Follow many runs, and the list of them, over a WebSocket."""
        if not _has_stream_token():
            require_known_origin(request, origins)
        key, access = require_upgrade(request), _access(g.tenant_id)
        return feed_response(request, key, feed, access=access, max_subscriptions=max_subscriptions)

    redirect_trailing_slashes(blueprint, {"/stream-tokens": "POST", "/ws": "GET"})
    allow_origins(blueprint, origins)
    return blueprint


def _tenant_of_key(request: Request, keys: ApiKeyService, admin_tokens: Sequence[SecretStr]) -> str | None:
    """The tenant whose runs the caller may see; None for the operator, who sees all."""
    caller = require_caller(request, keys, admin_tokens)
    return None if caller.kind is CallerKind.OPERATOR else caller.tenant_id


def _access(tenant_id: str | None) -> RunAccess:
    return EVERY_RUN if tenant_id is None else RunAccess(frozenset({tenant_id}))


def _has_stream_token() -> bool:
    """Such a request is judged by its token alone. Nothing but a GET can have one."""
    return request.method in ("GET", "HEAD") and STREAM_TOKEN in request.args
