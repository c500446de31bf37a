"""``/events``: the dashboard's feed of all runs."""

from __future__ import annotations

from collections.abc import Collection

from flask import Blueprint, Response, jsonify, request

from blueprints.auth import has_stream_token
from blueprints.callers import current_run_caller
from blueprints.cors import require_known_origin
from blueprints.feed_socket import FeedConversation
from blueprints.parsing import parse_optional_body
from blueprints.slashes import redirect_trailing_slashes
from blueprints.upgrade import require_upgrade, socket_route
from runtime.protocol.clock import wire_time
from runtime.protocol.requests import CreateStreamTokenRequest
from services.feed import FeedService
from services.open_streams import OpenStreams
from services.stream_tokens import StreamTokens, feed_of


def feed_blueprint(
    feed: FeedService, streams: OpenStreams, stream_tokens: StreamTokens, *, origins: Collection[str]
) -> Blueprint:
    """The routes below ``/events``, for the operator, keys of a workspace, and readers with a stream token.

    ``origins`` are those of pages that may open a WebSocket.
    """
    blueprint = Blueprint("feed", __name__, url_prefix="/events")

    @blueprint.post("/stream-tokens")
    def create_feed_token() -> tuple[Response, int]:
        """Issues a token with which a reader may open the feed."""
        wanted = parse_optional_body(request, CreateStreamTokenRequest)
        made = stream_tokens.issue(feed_of(current_run_caller().tenant_id), ttl_seconds=wanted.ttl_seconds)
        return jsonify(token=made.token, expires_at=wire_time(made.expires_at)), 201

    @socket_route(blueprint, "/ws")
    def follow_runs() -> FeedConversation:
        """Follows many runs, and the list of them, over a WebSocket."""
        if not has_stream_token(request):
            require_known_origin(request, origins)
        require_upgrade(request)
        caller = current_run_caller()
        stream = streams.open(caller.tenant_id)
        return FeedConversation(feed, access=caller.access, max_subscriptions=feed.max_subscriptions, stream=stream)

    redirect_trailing_slashes(blueprint, {"/stream-tokens": "POST", "/ws": "GET"})
    return blueprint
