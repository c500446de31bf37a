"""Responses that are sent as they come, as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response

from runtime.protocol import sse

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Keeps proxies from holding back what has come until there is more."""


def stream_response(frames: Iterator[bytes]) -> Response:
    """Returns a response that streams these frames."""
    # Passed through as it is: werkzeug's own iterator around it would cost memory for each waiting stream.
    return Response(frames, content_type=sse.CONTENT_TYPE, headers=STREAM_HEADERS, direct_passthrough=True)
