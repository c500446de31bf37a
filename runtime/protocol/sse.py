"""Frames of server-sent events, as pure functions of what is stored."""

from __future__ import annotations

CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEARTBEAT_SECONDS = 15.0
"""An idle stream sends a comment at least this often."""

HEARTBEAT = b": keepalive\n\n"
RECONNECT_SOON = b"retry: 500\n\n"
"""Sent when a stream is cut while its run continues: the client should reconnect, to another worker."""


def event_with_id(cursor: bytes, payload: bytes) -> bytes:
    """Returns the stored payload, a JSON object, with ``id`` inserted as its first key."""
    return b'{"id":"%b",%b' % (cursor, payload[1:])


def frame(cursor: bytes, event_type: bytes, payload: bytes) -> bytes:
    """Returns one event of the stream. ``payload`` is one line of JSON."""
    return b'id: %b\nevent: %b\ndata: {"id":"%b",%b\n\n' % (cursor, event_type, cursor, payload[1:])
