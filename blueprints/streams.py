"""Answers that are sent as they come, as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response

from runtime.protocol import sse

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""No proxy keeps what has come until there is more."""


def stream_response(frames: Iterator[bytes]) -> Response:
    """A response of frames that are made elsewhere."""
    # Passed through as it is: werkzeug's own iterator around it would cost each waiting stream memory.
    return Response(frames, content_type=sse.CONTENT_TYPE, headers=STREAM_HEADERS, direct_passthrough=True)
