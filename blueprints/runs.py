"""``/runs``: the run API of Dify's ``dify-agent`` server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from flask import Blueprint, Response, jsonify, request
from pydantic import SecretStr

from blueprints.auth import require_bearer
from blueprints.errors import register_error_handlers
from blueprints.parsing import parse_body, parse_cursor_parameter, parse_optional_body, parse_page_query
from blueprints.slashes import redirect_trailing_slashes
from runtime.events.follow import Follower
from runtime.protocol import sse
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.records import RunStatus
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest
from runtime.runtime import Runtime
from services.runs import RunService

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def runs_blueprint(runtime: Runtime, *, tokens: Sequence[SecretStr], max_request_bytes: int) -> Blueprint:
    """The routes below ``/runs``, open to everybody when there are no tokens."""
    blueprint = Blueprint("runs", __name__, url_prefix="/runs")
    runs = RunService(runtime)
    register_error_handlers(blueprint)

    @blueprint.before_request
    def admit() -> None:
        request.max_content_length = max_request_bytes
        require_bearer(request, tokens)
        runtime.start()

    @blueprint.post("")
    def create_run() -> tuple[Response, int]:
        """Accept a run."""
        record = runs.create_run(parse_body(request, CreateRunRequest))
        return jsonify(run_id=record.run_id, status=record.status), 202

    @blueprint.get("/<run_id>")
    def get_run(run_id: str) -> Response:
        """The status of a run."""
        return jsonify(runs.get_run(run_id).as_status())

    @blueprint.post("/<run_id>/cancel")
    def cancel_run(run_id: str) -> Response:
        """Cancel a run."""
        runs.cancel_run(run_id, parse_optional_body(request, CancelRunRequest))
        return jsonify(run_id=run_id, status=RunStatus.CANCELLED)

    @blueprint.get("/<run_id>/events")
    def list_run_events(run_id: str) -> Response:
        """A page of a run's events."""
        given, after, limit = parse_page_query(request.args)
        page = runs.list_events(run_id, after=after, limit=limit)
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
        """A run's events as they come."""
        follower = runs.follow_run(run_id, after=_stream_cursor())
        return Response(_frames(follower), content_type=sse.CONTENT_TYPE, headers=STREAM_HEADERS)

    redirect_trailing_slashes(
        blueprint,
        {
            "": "POST",
            "/<run_id>": "GET",
            "/<run_id>/cancel": "POST",
            "/<run_id>/events": "GET",
            "/<run_id>/events/sse": "GET",
        },
    )
    return blueprint


def _stream_cursor() -> str:
    """Query ``after``, else the header a reconnecting EventSource sends, else the beginning."""
    if after := request.args.get("after"):
        return parse_cursor_parameter(after, "after")
    if last_event_id := request.headers.get("Last-Event-ID"):
        return parse_cursor_parameter(last_event_id, "Last-Event-ID", source="header")
    return BEGINNING


def _frames(follower: Follower) -> Iterator[bytes]:
    for entries in follower:
        yield b"".join(entry.frame for entry in entries) or sse.HEARTBEAT
    if follower.is_cut:
        yield sse.RECONNECT_SOON
