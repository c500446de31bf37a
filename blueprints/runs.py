"""``/runs``: the run API of Dify's ``dify-agent`` server."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import partial

from flask import Blueprint, Response, jsonify, request

from blueprints.auth import has_stream_token
from blueprints.callers import current_run_caller
from blueprints.cors import require_known_origin
from blueprints.idempotency import parse_idempotency_key
from blueprints.paging import parse_cursor_parameter, parse_event_page
from blueprints.parsing import parse_body, parse_optional_body
from blueprints.run_socket import RunConversation
from blueprints.slashes import redirect_trailing_slashes
from blueprints.streams import stream_response
from blueprints.upgrade import require_upgrade, socket_route
from runtime.protocol import sse
from runtime.protocol.clock import wire_time
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.records import RunStatus
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest, CreateStreamTokenRequest
from runtime.runs import Follower
from services.open_streams import OpenStreams
from services.runs import RunService
from services.stream_tokens import StreamTokens


def runs_blueprint(
    runs: RunService, streams: OpenStreams, stream_tokens: StreamTokens, *, origins: Collection[str]
) -> Blueprint:
    """The routes below ``/runs``. ``origins`` are those of pages that may open a WebSocket."""
    blueprint = Blueprint("runs", __name__, url_prefix="/runs")

    @blueprint.post("")
    def create_run() -> Response:
        """Accepts a run, or finds the one that its idempotency key has already created."""
        wanted = parse_body(request, CreateRunRequest)
        key = parse_idempotency_key(request, wanted.idempotency_key)
        record = runs.create_run(wanted, tenant_id=current_run_caller().tenant_id, idempotency_key=key)
        body = b'{"run_id":"%b","status":"%b"}\n' % (record.run_id.encode(), record.status.encode())
        return Response(body, 202, content_type="application/json")

    @blueprint.get("/<run_id>")
    def get_run(run_id: str) -> Response:
        """Returns the status of a run."""
        return jsonify(runs.get_run(run_id, access=current_run_caller().access).as_status())

    @blueprint.post("/<run_id>/cancel")
    def cancel_run(run_id: str) -> Response:
        """Cancels a run."""
        runs.cancel_run(run_id, parse_optional_body(request, CancelRunRequest), access=current_run_caller().access)
        return jsonify(run_id=run_id, status=RunStatus.CANCELLED)

    @blueprint.post("/<run_id>/stream-tokens")
    def create_stream_token(run_id: str) -> tuple[Response, int, dict[str, str]]:
        """Issues a token with which a reader may follow this run."""
        wanted = parse_optional_body(request, CreateStreamTokenRequest)
        record = runs.get_run(run_id, access=current_run_caller().access)
        made = stream_tokens.issue(record.run_id, ttl_seconds=wanted.ttl_seconds)
        answer = jsonify(token=made.token, expires_at=wire_time(made.expires_at), run_id=record.run_id)
        return answer, 201, {"Cache-Control": "no-store"}

    @blueprint.get("/<run_id>/events")
    def list_run_events(run_id: str) -> Response:
        """Lists a page of a run's events."""
        given, after, limit = parse_event_page(request.args)
        page = runs.list_events(run_id, access=current_run_caller().access, after=after, limit=limit)
        events = b",".join(entry.as_event() for entry in page.entries)
        next_cursor = page.next_cursor if page.entries else given
        body = b'{"run_id":%b,"events":[%b],"next_cursor":%b}\n' % (
            json.dumps(run_id).encode(),
            events,
            json.dumps(next_cursor).encode(),
        )
        return Response(body, content_type="application/json")

    @blueprint.get("/<run_id>/events/sse")
    def stream_run_events(run_id: str) -> Response:
        """Streams a run's events as they come."""
        follower = runs.follow_run(run_id, access=current_run_caller().access, after=_stream_cursor())
        if _is_reconnect() and follower.has_nothing:
            # The one answer after which an EventSource does not come back.
            return Response(status=204, headers={"Cache-Control": "no-cache"})
        return stream_response(_frames(follower), streams.open(_tenant_of_reader(follower)))

    @socket_route(blueprint, "/<run_id>/events/ws")
    def stream_run_events_by_socket(run_id: str) -> RunConversation:
        """Streams a run's events as they come, over a WebSocket."""
        if not has_stream_token(request):
            require_known_origin(request, origins)
        require_upgrade(request)
        access = current_run_caller().access
        follower = runs.follow_run(run_id, access=access, after=_stream_cursor())
        cancel = None if has_stream_token(request) else partial(runs.cancel_run, run_id, access=access)
        return RunConversation(follower, cancel=cancel, stream=streams.open(_tenant_of_reader(follower)))

    redirect_trailing_slashes(
        blueprint,
        {
            "": "POST",
            "/<run_id>": "GET",
            "/<run_id>/cancel": "POST",
            "/<run_id>/stream-tokens": "POST",
            "/<run_id>/events": "GET",
            "/<run_id>/events/sse": "GET",
            "/<run_id>/events/ws": "GET",
        },
    )
    return blueprint


def _tenant_of_reader(follower: Follower) -> str | None:
    """Whose stream it is: a stream token says only which run it opens, so that tenant's."""
    return follower.tenant_id if has_stream_token(request) else current_run_caller().tenant_id


def _stream_cursor() -> str:
    """Returns the query's ``after``, else the header that a reconnecting EventSource sends, else the beginning."""
    if after := request.args.get("after"):
        return parse_cursor_parameter(after, "after")
    if last_event_id := request.headers.get("Last-Event-ID"):
        return parse_cursor_parameter(last_event_id, "Last-Event-ID", source="header")
    return BEGINNING


def _is_reconnect() -> bool:
    """Whether the cursor is that of an EventSource. Readers with one in the query reconnect when they choose."""
    return not request.args.get("after") and bool(request.headers.get("Last-Event-ID"))


def _frames(follower: Follower) -> Iterator[bytes]:
    with follower:
        while (frames := _next_frames(follower)) is not None:
            yield frames
    if follower.is_cut:
        yield sse.RECONNECT_SOON


def _next_frames(follower: Follower) -> bytes | None:
    """Returns what to send next; None at the end.

    A function of its own, so that the entries are not kept in memory while the reader waits for more.
    """
    entries = follower.read()
    return None if entries is None else b"".join([entry.frame for entry in entries]) or sse.HEARTBEAT
